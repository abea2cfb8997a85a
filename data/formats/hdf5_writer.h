// How HDF5 writes to files. HDF5 does not survive a failed write: if an array or file cannot be closed, its
// identifier stays valid but its memory is freed, and a later call crashes, also one for another file (seen
// with 1.14.5; a run whose disk was full for a moment would end at its next checkpoint). Our driver (HDF5's
// "virtual file driver") therefore reports success to HDF5 and remembers the first error for Hdf5File, which
// throws it. Files have the bytes that HDF5's own driver writes.
#pragma once

#include "data/formats/hdf5_calls.h"

namespace glow::hdf5 {

// Makes files that are created with the property list use the driver. *error: errno of the first failed write,
// also by H5Fclose; must be 0 at first and outlive the file. Later writes do nothing.
void use_writer(hid_t access, int* error);

}  // namespace glow::hdf5
