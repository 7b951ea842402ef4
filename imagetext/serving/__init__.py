"""The web app: a page and a JSON API around a captioner, a matcher and a searcher.

imagetext serve --caption runs/best-1 --match runs/itm-best-1 --index photos.index

from imagetext.serving.app import create_app
app = create_app(captioner=captioner)        # any object with `captions_of_bytes`
"""
