"""Numbers of things, in words.

counted(1, "photo"), counted(2000, "photo")         # "1 photo", "2,000 photos"
"""


def counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"
