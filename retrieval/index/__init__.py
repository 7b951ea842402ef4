"""An index of photos on disk: built, extended, checked, and searched by text and by photo.

    INDEX/index.json             the current version: model, segments, removed photos
    INDEX/segments/000001/       vectors, hashes, paths and captions; never changed once written
    INDEX/building/, adding/     photos encoded so far, by a process that is running or was killed

A change writes a new segment and then replaces index.json, so readers see either the old version or
the new one.

Security: nothing in an index is executed; paths in it are only displayed and opened as photos;
everything that is read is checked against sizes and hashes. This detects damage but does not
protect against malicious files, since FAISS reads its own files in C++. To search an index from an
untrusted source, disable FAISS (`Index.open(folder, approximate=False)`) and use your own run
instead of the one it names.
"""
