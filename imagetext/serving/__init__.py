"""The web app: a page and a JSON API for captioning, matching and search.

    imagetext serve --caption runs/best-1 --match runs/itm-best-1 --index photos.index

    from imagetext.serving.app import create_app
    app = create_app(caption=service)                # anything with the methods of a CaptionService

Tasks offer their services in their `Task` records; `imagetext.serving.protocols` says what the app
expects of them.
"""
