// --audit-every: compares the gradients of a run's memory policy with those of exact states.
#pragma once

#include <string>
#include <vector>

#include "layers/glow.h"
#include "runtime/context.h"
#include "runtime/memory.h"

namespace glow {

// Results on a few images, relative to policy `checkpoint` with the same weights.
struct Audit {
    static constexpr index_t kImages = 4;         // at most
    static constexpr double kMinCosine = 0.9999;  // the audit fails below this

    struct Layer {
        std::string name;                    // "level0/step3"
        double state_error = 0;              // largest |reconstructed h - h| at its input
        double cosine = 1, relative_l2 = 0;  // of its gradient
    };
    std::vector<Layer> layers;           // in the order of backward
    double cosine = 1, relative_l2 = 0;  // of the whole gradient
    index_t images = 0;

    bool holds() const { return cosine >= kMinCosine; }
    // The layer with the largest state error.
    const Layer& worst() const;
};

// A message line, and rows of audit.csv: one per layer and one for `all`.
std::string describe(const Audit& audit);
inline constexpr const char* kAuditColumns = "step,layer,state_error,cosine,relative_l2";
std::vector<std::string> rows(const Audit& audit, index_t step);

// Runs both backward passes block by block, so that memory holds two blocks of gradients, not two models.
class Auditor {
  public:
    // Allocates a second state of `images` images and two blocks of gradients.
    Auditor(const Context& context, Glow& glow, index_t images, Memory& memory);

    // flow.h: at most `images` images, overwritten by their reconstruction; dh [flow.N, D]: scratch.
    // Parameters must be derived; they are unchanged, and their gradients are discarded.
    Audit operator()(Flow& flow, real* dh, const MemoryPolicy& policy);

  private:
    const Context& context_;
    Glow& glow_;
    Arena& stored_;
    state_t* h_;
    real* dh_;
    double *logdet_, *prior_, *bits_y_, *error_y_;
    float *gradient_, *exact_gradient_;  // [size of the largest block]
};

}  // namespace glow
