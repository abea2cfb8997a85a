#include "layers/classifier.h"

#include "kernels/class_conditioning.h"

namespace glow::inline GLOW_REAL {

Classifier::Classifier(const ModelConfig& config, const Shape& shape, Parameters& parameters)
    : shape_(shape),
      classes_(config.n_classes),
      weight_(parameters.add("classifier/weight", {shape.C, config.n_classes}, Init::zeros)),
      bias_(parameters.add("classifier/bias", {config.n_classes}, Init::zeros)),
      logs_(parameters.add("classifier/logs", {config.n_classes}, Init::zeros)) {}

Classifier::Logits Classifier::logits(const Context& context, const Flow& flow) const {
    const Logits result{context.workspace.take<double>(flow.N * shape_.C),
                        context.workspace.take<double>(flow.N * classes_)};
    spatial_mean(context.exec, flow.N, shape_.pixels(), shape_.C, flow.h, result.mean);
    class_logits(context.exec, flow.N, shape_.C, classes_, result.mean,
                 {weight_.value(), bias_.value(), logs_.value()}, result.logits);
    return result;
}

void Classifier::forward(const Context& context, const Flow& flow) const {
    const Arena::Scope scope(context.workspace);
    const Logits result = logits(context, flow);
    cross_entropy(context.exec, flow.N, classes_, flow.labels, result.logits, flow.bits_y, flow.error_y);
}

void Classifier::backward(const Context& context, const Flow& flow, Gradient& gradient) const {
    const Arena::Scope scope(context.workspace);
    const Logits result = logits(context, flow);
    double* const unused = context.workspace.take<double>(2 * flow.N);
    cross_entropy(context.exec, flow.N, classes_, flow.labels, result.logits, unused, unused + flow.N);
    classifier_backward(
        context.exec, {flow.N, shape_.pixels(), shape_.C, classes_, flow.labels, result.mean, result.logits},
        {weight_.value(), bias_.value(), logs_.value()}, gradient.dbits_y,
        context.workspace.take<double>(flow.N * classes_),
        {weight_.gradient(gradient.parameters), bias_.gradient(gradient.parameters),
         logs_.gradient(gradient.parameters)},
        gradient.dh);
}

}  // namespace glow::inline GLOW_REAL
