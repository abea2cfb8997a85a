// When derived weights are computed and awaited.
#include "layers/derived_weights.h"

#include <memory>
#include <string>
#include <vector>

#include "kernels/error.h"
#include "tests/layers/model.h"

namespace glow::inline GLOW_REAL {
namespace {

// Inverts as the CPU does, and records the order of calls. Fails at the call of number `failing`.
class RecordingSolver : public Solver {
  public:
    void invert(index_t count, index_t n, const double* W, double* inverse, double* log_abs_det,
                double* condition) override {
        calls += 'i';
        if (std::ssize(calls) == failing) throw InputError("no memory left");
        solver_->invert(count, n, W, inverse, log_abs_det, condition);
    }
    void finish() override { calls += 'f'; }
    void orthogonalize(index_t, double*) override {}
    void factorize(index_t, double*, index_t*) override {}

    std::string calls;
    index_t failing = 0;

  private:
    std::unique_ptr<Solver> solver_ = make_cpu_solver();
};

// After a step that failed before it waited for the inverses, or while it started them, they are awaited
// before W is overwritten.
TEST(DerivedWeights, WaitsBeforeItDerivesAgain) {
    Model model(make_config(8, 8, 1, 2, 1, 4), 1);
    RecordingSolver solver;
    Context context = {.exec = model.machine.context.exec,
                       .blas = model.machine.context.blas,
                       .solver = solver,
                       .conv = model.machine.context.conv,
                       .communicator = model.machine.context.communicator,
                       .workspace = model.machine.workspace};
    std::vector<real> other = model.values.value;
    DerivedWeights derived(model.glow);
    derived.update(context, model.values.value.data());
    EXPECT_EQ(solver.calls, "ii");  // of two levels
    derived.update(context, other.data());
    EXPECT_EQ(solver.calls, "iiffii");
    derived.wait(context);
    EXPECT_EQ(solver.calls, "iiffiiff");
    solver.failing = 10;
    EXPECT_THROW(derived.update(context, model.values.value.data()), InputError);
    EXPECT_EQ(solver.calls, "iiffiiffii");
    derived.update(context, other.data());  // overwritten in part, so derived again
    EXPECT_EQ(solver.calls, "iiffiiffiiffii");
}

}  // namespace
}  // namespace glow::inline GLOW_REAL
