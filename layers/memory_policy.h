// What forward saves for backward: the memory policies of a run.
#pragma once

#include <vector>

#include "layers/coupling.h"

namespace glow::inline GLOW_REAL {

// The exact states entering levels 1..L-1 are always saved (less than one latent in total). In addition:
struct MemoryPolicy {
    index_t anchor_every = 0;  // exact state before every Nth step; 0: none, 1: policy "checkpoint"
    bool maps = false;         // all networks' maps; with anchor_every = 1: policy "store"
    // Policy "auto": number of last steps per level whose maps are saved; empty: none. See
    // Glow::policy_within().
    std::vector<index_t> last_maps = {};
    bool float_states = false;   // save states in float: half the bytes
    bool rounding_bits = false;  // for unsaved states, save how they round: one bit per network input
    bool noisy_pixels = false;   // with rounding bits: images are pixels with uniform noise, or none

    bool operator==(const MemoryPolicy&) const = default;

    // For step k of K in level l.
    bool saves_maps(index_t l, index_t k, index_t K) const {
        return maps || (!last_maps.empty() && k >= K - last_maps[static_cast<std::size_t>(l)]);
    }
};

// Saved states and maps of one forward, in an arena scope.
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

        // Whether restore() replaces or corrects the reconstructed state.
        bool restores() const { return replaces_state() || roundings != nullptr; }
        // Whether restore() needs no reconstructed state, because the state was saved.
        bool replaces_state() const { return state != nullptr || rounded != nullptr; }
        const Coupling::SavedMaps* saved_maps() const { return has_maps ? &maps : nullptr; }
    };
    // Saves what the policy requires of flow.h, the input of step k of level l. Call in the order of forward.
    Step& add(const Context& context, const Shape& shape, index_t l, index_t k, Precision precision,
              const Flow& flow);
    // In backward, flow.h is the reconstructed input of a step. If the policy saved the state, makes flow.h
    // exact; if it saved rounding bits, makes flow.h round like the exact state. Returns the input for the
    // parameters' gradients.
    static const state_t* restore(const Context& context, const Shape& shape, const Step& step, bool first,
                                  Precision precision, const Flow& flow);

    Arena& arena_;
    Arena::Scope scope_;
    MemoryPolicy policy_;
    std::vector<Step> steps_;  // L * K, level by level
};

}  // namespace glow::inline GLOW_REAL
