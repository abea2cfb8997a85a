// IDX files, the format of MNIST (http://yann.lecun.com/exdb/mnist/), plain or gzip: two zero bytes, a type
// (8: uint8, the only one supported), the rank, the sizes as big-endian 32-bit numbers, the elements in
// row-major order.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include "kernels/base.h"

namespace glow {

// Reads an IDX file sequentially. Throws InputError if it is missing, of another type, above rank 8, empty,
// damaged, or shorter than its header claims (longer: detected at the end).
class IdxReader {
  public:
    explicit IdxReader(const std::filesystem::path& path);
    ~IdxReader();
    IdxReader(IdxReader&&) noexcept;
    IdxReader& operator=(IdxReader&&) noexcept;

    const std::vector<index_t>& shape() const { return shape_; }
    index_t rows() const { return shape_[0]; }
    index_t row_bytes() const { return row_bytes_; }
    // Reads the next `count` rows along the first axis into values [count, row_bytes]. After the last row,
    // checks that the file ends and verifies its checksum.
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
