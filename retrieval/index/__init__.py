"""An index of photos on disk: built, grown, checked, and searched by words and by photos.

    INDEX/index.json             the version that readers see: encoder, segments, what was removed
    INDEX/segments/000001/       vectors, hashes, paths and captions; never changed once written
    INDEX/building/, adding/     photos encoded so far, by a process that runs or was killed

A change writes a new segment, then replaces index.json: a reader sees the old version or the new.

What is trusted: nothing in an index is executed, paths in it are shown and opened as photos only,
and whatever is read is checked against sizes and hashes, which finds damage. They do not protect
from malice: FAISS reads its own files in C++. An index of a stranger's is searched without FAISS
(`Index.open(folder, approximate=False)`), and with a run of one's own, not the one it names.
"""
