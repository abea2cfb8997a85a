// --audit-every: are the gradients of a run's memory policy those of exact states?
#pragma once

#include <string>
#include <vector>

#include "layers/glow.h"
#include "runtime/context.h"
#include "runtime/memory.h"

namespace glow {

// What was found on a few images, against the policy `checkpoint` with the same weights.
struct Audit {
    static constexpr index_t kImages = 4;           // at most
    static constexpr double kLeastCosine = 0.9999;  // below it the audit fails

    struct Layer {
        std::string name;                    // "level0/step3"
        double state_error = 0;              // largest |rebuilt h - h| at its input
        double cosine = 1, relative_l2 = 0;  // of its gradient
    };
    std::vector<Layer> layers;           // in the order of backward
    double cosine = 1, relative_l2 = 0;  // of the whole gradient
    index_t images = 0;

    bool holds() const { return cosine >= kLeastCosine; }
    // Where the state is furthest off.
    const Layer& worst() const;
};

// A line for people; rows of audit.csv, one a layer and one of `all`.
std::string describe(const Audit& audit);
inline constexpr const char* kAuditColumns = "step,layer,state_error,cosine,relative_l2";
std::vector<std::string> rows(const Audit& audit, index_t step);

// Runs both backwards side by side, block by block: two blocks of gradients are in memory, not two models.
class Auditor {
  public:
    // Takes a second state of that many images and two blocks of gradients.
    Auditor(const Context& context, Glow& glow, index_t images, Memory& memory);

    // flow.h: at most so many images, which are rebuilt there; dh [flow.N, D]: scratch. The parameters must
    // be prepared; they are left alone, and of their gradients nothing is left.
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
