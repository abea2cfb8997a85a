#include "data/formats/hdf5_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "data/formats/input_path.h"
#include "kernels/error.h"

namespace glow::hdf5 {
namespace {

// HDF5 knows the file by its first member.
struct DriverFile {
    H5FD_t base;
    int descriptor;
    bool written;
    int* error;
    haddr_t end_of_allocations;  // HDF5's "EOA"
    haddr_t end;                 // of the file, HDF5's "EOF"
};

DriverFile& driver_file(H5FD_t* file) {
    return *reinterpret_cast<DriverFile*>(file);
}
const DriverFile& driver_file(const H5FD_t* file) {
    return *reinterpret_cast<const DriverFile*>(file);
}

void remember(const DriverFile& file) {
    if (*file.error == 0) *file.error = errno != 0 ? errno : EIO;
}

H5FD_t* open_file(const char* name, unsigned flags, hid_t access, haddr_t) {
    int mode = (flags & H5F_ACC_RDWR) != 0 ? O_RDWR : O_RDONLY;
    if ((flags & H5F_ACC_TRUNC) != 0) mode |= O_TRUNC;
    if ((flags & H5F_ACC_CREAT) != 0) mode |= O_CREAT;
    if ((flags & H5F_ACC_EXCL) != 0) mode |= O_EXCL;
    const int descriptor = open(name, mode | O_CLOEXEC, 0666);
    struct stat status {};
    int* const error = *static_cast<int* const*>(H5Pget_driver_info(access));
    if (descriptor < 0 || fstat(descriptor, &status) != 0) {
        if (mode == O_RDONLY && !is_missing_or_forbidden(errno) && *error == 0) *error = errno;
        H5Epush2(H5E_DEFAULT, __FILE__, __func__, __LINE__, H5E_ERR_CLS, H5E_FILE, H5E_CANTOPENFILE,
                 "error message = '%s'", std::strerror(errno));
        if (descriptor >= 0) close(descriptor);
        return nullptr;
    }
    return &(new DriverFile{{}, descriptor, mode != O_RDONLY, error, 0, static_cast<haddr_t>(status.st_size)})
                ->base;
}

herr_t close_file(H5FD_t* base) {
    const std::unique_ptr<DriverFile> file(&driver_file(base));
    if (close(file->descriptor) != 0 && file->written) remember(*file);
    return 0;
}

// Whether two files are the same.
int compare_files(const H5FD_t* a, const H5FD_t* b) {
    struct stat of_a {
    }, of_b{};
    fstat(driver_file(a).descriptor, &of_a);
    fstat(driver_file(b).descriptor, &of_b);
    if (of_a.st_dev != of_b.st_dev) return of_a.st_dev < of_b.st_dev ? -1 : 1;
    if (of_a.st_ino != of_b.st_ino) return of_a.st_ino < of_b.st_ino ? -1 : 1;
    return 0;
}

herr_t get_features(const H5FD_t*, unsigned long* features) {
    // Those of HDF5's own driver, for files with the same bytes.
    *features = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_DATA_SIEVE |
                H5FD_FEAT_AGGREGATE_SMALLDATA | H5FD_FEAT_POSIX_COMPAT_HANDLE |
                H5FD_FEAT_DEFAULT_VFD_COMPATIBLE;
    return 0;
}

haddr_t get_end_of_allocations(const H5FD_t* file, H5FD_mem_t) {
    return driver_file(file).end_of_allocations;
}
herr_t set_end_of_allocations(H5FD_t* file, H5FD_mem_t, haddr_t address) {
    driver_file(file).end_of_allocations = address;
    return 0;
}
haddr_t get_end(const H5FD_t* file, H5FD_mem_t) {
    return driver_file(file).end;
}
herr_t get_descriptor(H5FD_t* file, hid_t, void** descriptor) {
    *descriptor = &driver_file(file).descriptor;
    return 0;
}

herr_t read_bytes(H5FD_t* base, H5FD_mem_t, hid_t, haddr_t address, std::size_t size, void* buffer) {
    const DriverFile& file = driver_file(base);
    for (char* to = static_cast<char*>(buffer); size > 0;) {
        const ssize_t count = pread(file.descriptor, to, size, static_cast<off_t>(address));
        if (count < 0 && errno == EINTR) continue;
        // EINVAL: a damaged file gave an impossible position.
        if (count < 0 && (file.written || errno != EINVAL)) remember(file);
        if (count < 0 && !file.written) {
            H5Epush2(H5E_DEFAULT, __FILE__, __func__, __LINE__, H5E_ERR_CLS, H5E_IO, H5E_READERROR,
                     "error message = '%s'", std::strerror(errno));
            return -1;
        }
        if (count <= 0) {
            std::memset(to, 0, size);  // beyond the end, as HDF5 expects
            return 0;
        }
        to += count;
        address += static_cast<haddr_t>(count);
        size -= static_cast<std::size_t>(count);
    }
    return 0;
}

herr_t write_bytes(H5FD_t* base, H5FD_mem_t, hid_t, haddr_t address, std::size_t size, const void* buffer) {
    DriverFile& file = driver_file(base);
    file.end = std::max(file.end, address + size);
    for (const char* from = static_cast<const char*>(buffer); size > 0 && *file.error == 0;) {
        const ssize_t count = pwrite(file.descriptor, from, size, static_cast<off_t>(address));
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) {
            remember(file);
            break;
        }
        from += count;
        address += static_cast<haddr_t>(count);
        size -= static_cast<std::size_t>(count);
    }
    return 0;
}

// Sets the file's size to what was allocated: arrays may end with elements that were never written.
herr_t set_size(H5FD_t* base, hid_t, hbool_t) {
    DriverFile& file = driver_file(base);
    if (file.end == file.end_of_allocations) return 0;
    file.end = file.end_of_allocations;
    if (*file.error == 0 && ftruncate(file.descriptor, static_cast<off_t>(file.end)) != 0) remember(file);
    return 0;
}

herr_t no_lock(H5FD_t*, hbool_t) {
    return 0;
}
herr_t no_unlock(H5FD_t*) {
    return 0;
}

const H5FD_class_t& driver_class() {
    static const H5FD_class_t driver = [] {
        H5FD_class_t w{};
#ifdef H5FD_CLASS_VERSION
        w.version = H5FD_CLASS_VERSION;
        w.value = static_cast<H5FD_class_value_t>(300);  // 256 .. 511 are for private drivers
#endif
        w.name = "glow";
        w.maxaddr = (haddr_t{1} << (8 * sizeof(off_t) - 1)) - 1;
        w.fc_degree = H5F_CLOSE_WEAK;
        w.fapl_size = sizeof(int*);  // use_driver()'s argument, which HDF5 copies
        w.open = open_file;
        w.close = close_file;
        w.cmp = compare_files;
        w.query = get_features;
        w.get_eoa = get_end_of_allocations;
        w.set_eoa = set_end_of_allocations;
        w.get_eof = get_end;
        w.get_handle = get_descriptor;
        w.read = read_bytes;
        w.write = write_bytes;
        w.truncate = set_size;
        w.lock = no_lock;
        w.unlock = no_unlock;
        constexpr H5FD_mem_t kMap[] = H5FD_FLMAP_DICHOTOMY;
        std::copy(std::begin(kMap), std::end(kMap), std::begin(w.fl_map));
        return w;
    }();
    return driver;
}

}  // namespace

void use_driver(hid_t access, int* error) {
    static hid_t driver = -1;
    // Another user of HDF5 in the process may have closed and opened the library.
    if (driver < 0 || H5Iget_type(driver) != H5I_VFL) driver = H5FDregister(&driver_class());
    if (driver < 0 || H5Pset_driver(access, driver, &error) < 0)
        throw Error("cannot set up the access to HDF5 files: " + reason());
}

}  // namespace glow::hdf5
