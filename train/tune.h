// Engines of a run's convolutions: their names in options, and selection by timing (--tune).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "layers/coupling_network.h"
#include "runtime/context.h"
#include "train/options.h"

namespace glow {

// "products,cudnn,masked", an engine a level, and back; "": the rule. Throws InputError for other names or
// another number of levels.
std::string to_string(const std::vector<Engine>& engines);
std::vector<Engine> parse_engines(const std::string& text, index_t levels);

// Times forward and backward of each level's networks, with the images per pass of `options`, using matrix
// products and backend.conv(). Selects the latter if it is supported and at least 2% faster. Allocates its
// own memory temporarily. say: one line per level.
std::vector<Engine> measured_engines(const TrainingOptions& options, const Backend& backend,
                                     const std::function<void(const std::string&)>& say);

// The rule on a GPU: masked products at each level for which its library has them, else products.
std::vector<Engine> default_engines(const TrainingOptions& options, const Backend& backend);

// The `engines` that a run records: the options' own; otherwise those of the resumed checkpoint (`recorded`,
// or ""); otherwise, with --tune, what root measures; otherwise "", the default rule. Engines that this
// device lacks become products, with a message, when resuming, possibly from another device; otherwise they
// throw InputError. Collective.
std::string engines_of_run(const TrainingOptions& options, bool resuming, const std::string& recorded,
                           const Backend& backend, const std::function<void(const std::string&)>& say);

}  // namespace glow
