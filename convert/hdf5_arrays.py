"""Reads arrays of HDF5 files by the rules of the commands (data/formats/hdf5_objects.cpp): only what the file itself holds. HDF5
would fill what was never written with zeros, and read from other files."""

import math

import h5py

GROUP_DEPTH, MOST_LINKS = 64, 300000  # end cycles of links
INFLATION = 1040  # deflate compresses by at most 1032
READ_FILTERS = (h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32)


class Hdf5FileError(Exception):
    pass


def hdf5_arrays(file, group=""):
    """{name: array} of all arrays below a group of the open file, or in the whole file."""
    found, links, above = {}, 0, f"/{group}/" if group else "/"

    def member(parent, name, shown):
        nonlocal links
        links += 1
        if links > MOST_LINKS:
            raise Hdf5FileError(f"it has more than {MOST_LINKS} objects")
        link = parent.get(name, getlink=True)
        if link is None:
            raise Hdf5FileError(f"{shown} is missing")
        if not isinstance(link, h5py.HardLink):
            raise Hdf5FileError(f"{shown} is a symbolic or external link, which is not allowed")
        return parent[name]

    def read(parent, prefix, depth):
        if depth > GROUP_DEPTH:
            raise Hdf5FileError("its groups are nested too deeply or form a cycle")
        for name in parent:
            shown = f"{above}{prefix}{name}"
            item = member(parent, name, shown)
            if isinstance(item, h5py.Group):
                read(item, f"{prefix}{name}/", depth + 1)
            elif isinstance(item, h5py.Dataset):
                _require_stored(item, shown)
                found[prefix + name] = item[()]

    top = member(file, group, f"/{group}") if group else file
    if not isinstance(top, h5py.Group):
        raise Hdf5FileError(f"/{group} is not a group")
    read(top, "", 0)
    return found


def _require_stored(array, name):
    """Refuses an array of which the file does not hold all elements."""
    creation = array.id.get_create_plist()
    if creation.get_layout() == h5py.h5d.VIRTUAL or creation.get_external_count() > 0:
        raise Hdf5FileError(f"{name} is stored in another file, which is not allowed")
    filters = [creation.get_filter(i)[0] for i in range(creation.get_nfilters())]
    for kind in filters:
        if kind not in READ_FILTERS:
            raise Hdf5FileError(f"{name} is compressed by HDF5 filter {kind}: write it with gzip or without")
    if not array.size:  # None without a shape
        return
    stored, claimed = array.id.get_storage_size(), array.size * array.id.get_type().get_size()
    if claimed > stored * (INFLATION if filters else 1):
        raise Hdf5FileError(f"{name} claims {claimed} bytes, but {stored} bytes of the file belong to it: truncated, damaged or never written")
    if array.chunks and hasattr(array.id, "get_num_chunks"):  # h5py 3
        written, expected = array.id.get_num_chunks(), math.prod(-(-size // chunk) for size, chunk in zip(array.shape, array.chunks))
        if written < expected:
            raise Hdf5FileError(f"only {written} of the {expected} chunks of {name} were written")
