// The engines of a run's convolutions: their names in its options, and the choice by measurement (--tune).
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

// Times forward and backward of each level's networks, with as many images as a step of `options` passes at
// once, by matrix products and by backend.conv(), and takes the latter where it has what is needed and is at
// least 2% faster. Takes memory of its own meanwhile. say: a line a level.
std::vector<Engine> measured_engines(const TrainingOptions& options, const Backend& backend,
                                     const std::function<void(const std::string&)>& say);

// The rule on a GPU: masked products at each level for which its library has them, else products.
std::vector<Engine> default_engines(const TrainingOptions& options, const Backend& backend);

// What a run records as its `engines`: the options' own; else those of the checkpoint it resumes (`recorded`,
// "" without one); else, with --tune, what the first process measures; else "", the rule. Engines that
// this device lacks become products and are told when the run resumes, perhaps from another device, and are
// an InputError otherwise. Collective.
std::string engines_of_run(const TrainingOptions& options, bool resuming, const std::string& recorded,
                           const Backend& backend, const std::function<void(const std::string&)>& say);

}  // namespace glow
