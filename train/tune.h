// Engines of a run's convolutions and algorithms of its matrix products: their names in options, and
// selection by timing (--tune).
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "layers/coupling_network.h"
#include "runtime/context.h"
#include "train/options.h"

namespace glow {

// "products,cudnn,products", an engine a level, and back; "": the rule. Throws InputError for other names or
// another number of levels.
std::string to_string(const std::vector<Engine>& engines);
std::vector<Engine> parse_engines(const std::string& text, index_t levels);

// Times forward and backward of each level's networks, with the images per pass of `options`, using matrix
// products and backend.conv(). Selects the latter if it is supported and at least 2% faster. Allocates its
// own memory temporarily. info: one line per level.
std::vector<Engine> measured_engines(const TrainingOptions& options, const Backend& backend,
                                     const std::function<void(const std::string&)>& info);

// The `engines` that a run records: the options' own; otherwise those of the resumed checkpoint (`recorded`,
// or ""); otherwise, with --tune, what root measures; otherwise "", products. Engines that this
// device lacks become products, with a message, when resuming, possibly from another device; otherwise they
// throw InputError. Collective.
std::string engines_of_run(const TrainingOptions& options, bool resuming, const std::string& recorded,
                           const Backend& backend, const std::function<void(const std::string&)>& info);

// The matrix products for which a run on a GPU does not use the library's first algorithm, with its index as
// in Blas::choose(). As text: one or more "nt 65536 512 512 bf16 bf16 bias_relu set 3" (transposes, m, n, k,
// operands, result, epilogue, = or +=, algorithm) with ", " between. Throws InputError for other text.
std::map<Gemm, int> parse_algorithms(const std::string& text);

// Times the algorithms of all products in the networks' forward and backward, for the engines, batch and
// memory policy of `options`, and chooses the fastest in backend.blas().
std::string tuned_algorithms(const TrainingOptions& options, const Backend& backend);

// Whether a run measures its algorithms. resumed: the checkpoint's options, or nullptr. A tuned run whose
// measurement chose the first algorithms everywhere recorded "", and keeps them.
bool measures_algorithms(const TrainingOptions& options, const TrainingOptions* resumed);
// The `algorithms` that a run records, chosen in backend.blas(): the options' own; otherwise those of the
// resumed checkpoint; otherwise, with --tune, what root measures; otherwise "". An algorithm that this
// library does not have is its first. On the CPU they are recorded and not used. resumed: as above, on root.
// Collective.
std::string algorithms_of_run(const TrainingOptions& options, const TrainingOptions* resumed,
                              const Backend& backend, const std::function<void(const std::string&)>& info);

}  // namespace glow
