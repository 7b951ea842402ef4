"""Between which limits the values of a configuration may lie; what does not is refused by its key.

at_least("data", self, batch_size=1, image_size=8)
above_zero("critic", self, "learning_rate", "temperature")
below_one("model", self, "dropout")
"""

from imagetext.errors import UserError


def at_least(part: str, config: object, **least: float) -> None:
    for key, smallest in least.items():
        require(part, config, key, getattr(config, key) >= smallest, f"at least {smallest}")


def above_zero(part: str, config: object, *keys: str) -> None:
    for key in keys:
        require(part, config, key, getattr(config, key) > 0, "above 0")


def below_one(part: str, config: object, *keys: str) -> None:
    for key in keys:
        holds = 0 <= getattr(config, key) < 1
        require(part, config, key, holds, "from 0 up to (not including) 1")


def require(part: str, config: object, key: str, holds: bool, wanted: str) -> None:
    """Refuse the value of `key` in this part of the configuration unless it `holds`."""
    if not holds:
        raise UserError(f"{part}.{key}: must be {wanted}, got {getattr(config, key)}")
