// A data set whose images are in chunks of a chosen size, as other programs write it.
#pragma once

#include <gtest/gtest.h>
#include <hdf5.h>

#include <filesystem>

#include "data/dataset.h"

namespace glow {

// Writes the images as split `train`, `rows` to a chunk.
inline void write_chunked(const std::filesystem::path& path, const ImageSet& set, hsize_t rows, bool gzip) {
    {
        Hdf5File file = Hdf5File::create(path);
        file.set_string("/", "format", "glow-dataset");
        file.set_integer("/", "version", 1);
        file.close();
    }
    const auto H = static_cast<hsize_t>(set.H), W = static_cast<hsize_t>(set.W),
               C = static_cast<hsize_t>(set.C);
    const hsize_t sizes[] = {static_cast<hsize_t>(set.N), H, W, C}, chunk[] = {rows, H, W, C};
    const hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
    H5Gclose(H5Gcreate2(file, "/train", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    const hid_t space = H5Screate_simple(4, sizes, nullptr), create = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(create, 4, chunk);
    if (gzip) H5Pset_deflate(create, 1);
    const hid_t images =
        H5Dcreate2(file, "/train/images", H5T_STD_U8LE, space, H5P_DEFAULT, create, H5P_DEFAULT);
    EXPECT_GE(H5Dwrite(images, H5T_NATIVE_UINT8, H5S_ALL, H5S_ALL, H5P_DEFAULT, set.images.data()), 0);
    H5Dclose(images);
    H5Pclose(create);
    H5Sclose(space);
    EXPECT_GE(H5Fclose(file), 0);
}

}  // namespace glow
