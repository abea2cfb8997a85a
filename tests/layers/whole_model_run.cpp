#include "tests/layers/whole_model_run.h"

#include "tests/layers/fixture.h"

namespace glow {

#if defined(GLOW_REAL_DOUBLE)
ModelResult run_model_f64(const ModelCase& probe) {
#else
ModelResult run_model_f32(const ModelCase& probe) {
#endif
    Machine machine(probe.threads);
    Glow glow(probe.config, {probe.precision, probe.tile});
    Values values(glow.parameters(), machine.backend.solver(), 3);
    for (real& value : values.value) value = static_cast<float>(value);
    glow.allocate(machine.derived);
    EXPECT_EQ(glow.derive_and_check(machine.context).bad_layer, "");

    const index_t D = probe.config.dimensions();
    std::vector<double> h;
    for (index_t n = probe.first; n < probe.first + probe.N; ++n) {
        const std::vector<double> image = Random(static_cast<std::uint64_t>(100 + n)).normals(D, 0.3);
        h.insert(h.end(), image.begin(), image.end());
    }
    ModelResult result;
    result.logdet.resize(probe.N);
    result.prior.resize(probe.N);
    std::vector<real> dh(h.size());
    Flow flow{probe.N, h.data(), result.logdet.data(), result.prior.data()};
    SavedActivations saved(machine.stored, {probe.anchor_every, probe.maps});
    glow.forward(machine.context, flow, &saved);
    result.latents = h;
    Gradient gradient{dh.data(), -0.01, 0, {values.gradient.data()}};
    glow.backward(machine.context, flow, gradient, saved);
    result.rebuilt = h;
    result.dx.assign(dh.begin(), dh.end());
    for (const auto& tensor : glow.parameters().tensors()) {
        const real* const first = values.gradient.data() + tensor.offset;
        result.tensors.push_back({tensor.name, {first, first + tensor.count}});
    }
    return result;
}

}  // namespace glow
