// A model's arrays in host memory: the arrays themselves on the CPU, a copy to fetch and send on a GPU. Used
// by checkpoints, initialization and value checks.
#pragma once

#include <cstddef>
#include <vector>

#include "layers/parameters.h"
#include "layers/weights.h"
#include "runtime/device.h"

namespace glow {

class HostWeights {
  public:
    // The arrays of `device`, in the layout of `parameters`; nullptr arrays stay nullptr. On a GPU nothing is
    // copied yet.
    HostWeights(const Exec& exec, const Parameters& parameters, const Weights& device);

    const Weights& get() const { return host_; }
    void fetch();       // device -> host
    void send() const;  // host -> device

  private:
    struct Array {
        void* device;
        std::vector<std::byte> host;
    };
    template <class T>
    void copy_of(T*& array, index_t count);

    Exec exec_;
    Weights host_;
    std::vector<Array> arrays_;
};

}  // namespace glow
