// A model's arrays as host memory: on the CPU the arrays themselves, of a GPU's a copy that is fetched and
// sent. Checkpoints, initial values and checks of values work on these.
#pragma once

#include <cstddef>
#include <vector>

#include "layers/parameters.h"
#include "runtime/device.h"
#include "inference/model_file.h"

namespace glow {

class HostWeights {
  public:
    // Of `there`, in the layout of `parameters`; arrays that are nullptr stay so. On a GPU nothing is copied
    // yet.
    HostWeights(const Exec& exec, const Parameters& parameters, const Weights& device);

    const Weights& get() const { return host_; }
    void fetch();       // there -> here
    void send() const;  // here -> there

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
