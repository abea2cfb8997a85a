// What forward keeps for backward: the memory policies of a run (spec section 2).
#pragma once

#include <vector>

#include "layers/coupling.h"

namespace glow::inline GLOW_REAL {

// The exact state entering levels 1..L-1 always (under one z in all). Beyond that
struct Keep {
    index_t anchor_every =
        0;              // the exact state before every so many steps; 0: none, 1: the policy checkpoint
    bool maps = false;  // every network's maps; with anchor_every = 1: the policy store
    // The maps of each level's last so many steps: the policy auto; empty: none. See Glow::keep_within().
    std::vector<index_t> last_maps = {};
    bool float_states = false;   // states before steps in float: half the bytes
    bool rounding_bits = false;  // of states not kept, how they round: a bit a network input

    bool operator==(const Keep&) const = default;

    // Of step k of the K of level l.
    bool keeps_maps(index_t l, index_t k, index_t K) const {
        return maps || (!last_maps.empty() && k >= K - last_maps[static_cast<std::size_t>(l)]);
    }
};

// States and maps of one forward, in an arena's scope.
class Kept {
  public:
    Kept(Arena& arena, Keep keep) : arena_(arena), scope_(arena), keep_(std::move(keep)) {}

  private:
    friend class Glow;
    struct Step {
        state_t* state = nullptr;
        float* rounded = nullptr;
        std::uint64_t* roundings = nullptr;
        Coupling::Kept maps;
        bool has_maps = false;
    };
    // The step that comes next in forward, of level l and number k in it, with flow.h its input: keeps what
    // the policy wants of that.
    Step& add(const Context& context, const Shape& shape, index_t l, index_t k, Precision precision,
              const Flow& flow);
    // In backward, flow.h the rebuilt input of a step: makes it the true one, or round as the true one did,
    // if so much was kept. Returns the input for the gradients of the parameters.
    static const state_t* recall(const Context& context, const Shape& shape, const Step& step, bool first,
                                 Precision precision, const Flow& flow);

    Arena& arena_;
    Arena::Scope scope_;
    Keep keep_;
    std::vector<Step> steps_;  // L * K, level by level
};

}  // namespace glow::inline GLOW_REAL
