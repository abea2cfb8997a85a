// Means that forget.
#include "train/course.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "kernels/error.h"

namespace glow {
namespace {

constexpr double kRemembered = 64;  // steps
constexpr index_t kKnown = 16;      // steps after which the deviation of losses is known
constexpr double kEarlyJump = 10;   // bits/dim, until then
constexpr double kDeviations = 8;
constexpr index_t kFewest = 4;  // images of a batch: of fewer, one strange image makes a loss

// visitor(name, member) for everything of a course.
template <class C, class Visitor>
void visit(C& course, Visitor&& visitor) {
    visitor("lr_scale", course.lr_scale);
    visitor("rollbacks", course.rollbacks);
    visitor("trouble_step", course.trouble_step);
    visitor("rolled_back_to", course.rolled_back_to);
    visitor("steps", course.steps);
    visitor("loss", course.loss);
    visitor("loss_variance", course.loss_variance);
    visitor("log_condition", course.log_condition);
}

}  // namespace

void Course::add(double new_loss, double condition) {
    ++steps;
    const double weight = std::max(1.0 / static_cast<double>(steps), 1.0 / kRemembered);
    const double difference = new_loss - loss;
    loss += weight * difference;
    loss_variance = (1 - weight) * (loss_variance + weight * difference * difference);
    log_condition += weight * (std::log(std::max(1.0, condition)) - log_condition);
}

Limits limits_of(const Course& course, const TrainingOptions& options) {
    Limits limits;
    if (course.steps == 0) return limits;
    if (options.loss_jump > 0 && options.batch >= kFewest)
        limits.loss =
            course.loss + std::max({options.loss_jump, kDeviations * std::sqrt(course.loss_variance),
                                    course.steps < kKnown ? kEarlyJump : 0.0});
    if (options.condition_jump > 0)
        limits.condition = options.condition_jump * std::exp(course.log_condition);
    return limits;
}

nlohmann::ordered_json to_json(const Course& course) {
    nlohmann::ordered_json json;
    visit(course, [&](const char* name, const auto& value) { json[name] = value; });
    return json;
}

Course course_from_json(const nlohmann::ordered_json& json) {
    Course course;
    visit(course, [&](const char* name, auto& value) {
        const auto found = json.find(name);
        constexpr bool whole = std::is_integral_v<std::decay_t<decltype(value)>>;
        if (found == json.end() || !(whole ? found->is_number_integer() : found->is_number()))
            throw InputError(std::string("attribute course has no number \"") + name + "\"");
        value = found->get<std::decay_t<decltype(value)>>();
    });
    const auto counts = {course.rollbacks, course.trouble_step, course.rolled_back_to, course.steps};
    const bool fine = std::all_of(counts.begin(), counts.end(),
                                  [](index_t n) { return n >= 0 && n <= index_t{1} << 52; }) &&
                      course.lr_scale > 0 && course.lr_scale <= 1 && std::isfinite(course.loss) &&
                      course.loss_variance >= 0 && std::isfinite(course.loss_variance) &&
                      std::isfinite(course.log_condition);
    if (!fine) throw InputError("attribute course has a value out of range");
    return course;
}

}  // namespace glow
