"""Files in and out. Every other file is one format with the same four names: ``SUFFIXES``, ``sniff``, ``read``, ``write``.

    SUFFIXES: tuple[str, ...]                      endings it writes, e.g. (".npz",)
    sniff(head: bytes, path) -> bool               is this file (its first 4096 bytes) mine? content before name
    read(path, ...) -> MotionClip                  or None instead of the function where it cannot
    write(clip, path, ...) -> None                 likewise
"""
