// How HDF5 reads and writes files: by our driver (HDF5's "virtual file driver"), which remembers the errors of
// the system. Files have the bytes that HDF5's own driver writes.
// HDF5 does not survive a failed write: if an array or file cannot be closed, its identifier stays valid but its
// memory is freed, and a later call crashes, also one for another file (seen with 1.14.5; a run whose disk was
// full for a moment would end at its next checkpoint). So writes always succeed for HDF5, and Hdf5File throws
// the first error.
// Failed reads fail for HDF5 too. But it reports some of them as if the object did not exist or were empty.
#pragma once

#include "data/formats/hdf5_calls.h"

namespace glow::hdf5 {

// Makes files that are opened or created with the property list use the driver. *error: errno of the first
// failure, also of H5Fclose; must be 0 at first and outlive the file. After a failure writes do nothing.
void use_driver(hid_t access, int* error);

}  // namespace glow::hdf5
