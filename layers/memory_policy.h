// What forward saves for backward: the memory policies of a run (spec section 2).
#pragma once

#include <vector>

#include "layers/coupling.h"

namespace glow::inline GLOW_REAL {

// The exact state entering levels 1..L-1 always (under one z in all). Beyond that
struct MemoryPolicy {
    index_t anchor_every =
        0;              // the exact state before every so many steps; 0: none, 1: the policy checkpoint
    bool maps = false;  // every network's maps; with anchor_every = 1: the policy store
    // The maps of each level's last so many steps: the policy auto; empty: none. See Glow::policy_within().
    std::vector<index_t> last_maps = {};
    bool float_states = false;   // states before steps in float: half the bytes
    bool rounding_bits = false;  // of states not saved, how they round: one bit per network input

    bool operator==(const MemoryPolicy&) const = default;

    // Of step k of the K of level l.
    bool saves_maps(index_t l, index_t k, index_t K) const {
        return maps || (!last_maps.empty() && k >= K - last_maps[static_cast<std::size_t>(l)]);
    }
};

// States and maps of one forward, in an arena's scope.
class SavedActivations {
  public:
    SavedActivations(Arena& arena, MemoryPolicy policy)
        : arena_(arena), scope_(arena), policy_(std::move(policy)) {}

  private:
    friend class Glow;
    struct Step {
        state_t* state = nullptr;
        float* rounded = nullptr;
        std::uint64_t* roundings = nullptr;
        Coupling::SavedMaps maps = {};
        bool has_maps = false;

        // Whether restore() changes or replaces the rebuilt state; whether it needs none.
        bool restores() const { return replaces_state() || roundings != nullptr; }
        bool replaces_state() const { return state != nullptr || rounded != nullptr; }
        const Coupling::SavedMaps* saved_maps() const { return has_maps ? &maps : nullptr; }
    };
    // Saves what the policy wants of flow.h, the input of step k of level l. Steps come in the order of forward.
    Step& add(const Context& context, const Shape& shape, index_t l, index_t k, Precision precision,
              const Flow& flow);
    // In backward, flow.h is the rebuilt input of a step: makes it exact, or round as the exact one did, where the
    // policy saved that. Returns the input for the parameters' gradients.
    static const state_t* restore(const Context& context, const Shape& shape, const Step& step, bool first,
                                  Precision precision, const Flow& flow);

    Arena& arena_;
    Arena::Scope scope_;
    MemoryPolicy policy_;
    std::vector<Step> steps_;  // L * K, level by level
};

}  // namespace glow::inline GLOW_REAL
