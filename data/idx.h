// IDX files, the format of MNIST (http://yann.lecun.com/exdb/mnist/): two zero bytes, a type (8: uint8, the
// only one here), the rank, the sizes as big-endian 32-bit numbers, then the elements in row-major order. As
// they are or compressed by gzip.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include "kernels/base.h"

namespace glow {

// Reads an IDX file from front to end. InputError: missing, another type, rank above 8, empty, shorter than
// its header says (or longer: at the end), damaged.
class IdxReader {
  public:
    explicit IdxReader(const std::filesystem::path& path);
    ~IdxReader();
    IdxReader(IdxReader&&) noexcept;
    IdxReader& operator=(IdxReader&&) noexcept;

    const std::vector<index_t>& shape() const { return shape_; }
    index_t rows() const { return shape_[0]; }
    index_t row_bytes() const { return row_bytes_; }
    // The next `count` rows along the first axis into values [count, row_bytes]. With the last one the file
    // must end, and its check sum is compared.
    void read(index_t count, std::uint8_t* values);

  private:
    void read_bytes(index_t bytes, void* to);

    struct Stream;
    std::filesystem::path path_;
    std::unique_ptr<Stream> stream_;
    std::vector<index_t> shape_;
    index_t row_bytes_ = 1, rows_left_ = 0;
};

}  // namespace glow
