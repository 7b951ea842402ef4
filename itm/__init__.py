"""Image-text matching: does this caption describe this photo?"""
