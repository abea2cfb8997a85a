// Trains a small Glow for a few steps, saves and reloads it, and prints the likelihood of images.
#include <glow/glow.h>

#include <cstdio>
#include <exception>
#include <vector>

int main() try {
    glow::TrainOptions options;
    options.shape = {.height = 8, .width = 8, .channels = 3, .levels = 2, .depth = 2, .hidden = 16};
    options.batch = 16;
    options.warmup_images = 0;
    std::vector<std::uint8_t> images;  // slanted planes
    for (int i = 0; i < 16 * 8 * 8 * 3; ++i)
        images.push_back(static_cast<std::uint8_t>(64 + i % 24 + 8 * (i / 24 % 8)));

    glow::ModelTrainer trainer(options);
    trainer.initialize(images);
    for (int step = 0; step < 20; ++step) {
        const double bits = trainer.step(images);
        std::printf("step %d: %.3f bits/dim, gradient norm %.3f\n", step + 1, bits,
                    trainer.last_step().grad_norm);
    }
    trainer.save("example.h5");

    glow::TrainedModel model("example.h5", {.averaged = false});
    std::printf("the first image: %.3f bits/dim, ", model.bits_per_dim(images)[0]);
    std::printf("%.3f with 8 importance-weighted draws\n",
                model.bits_per_dim(images, {}, {.iw_samples = 8})[0]);
    glow::ImageProblems problems;
    model.sample(4, {.temperature = 0.7, .seed = 1}, &problems);
    std::printf("%zu of 4 samples are not finite\n", problems.not_finite.size());
    const bool exact = model.decode(model.encode(images)) == images;
    std::printf("decoding the latents restores the images: %s; Glow %s\n", exact ? "yes" : "no",
                glow::version().c_str());
    return exact ? 0 : 1;
} catch (const glow::InvalidArgument& error) {
    std::fprintf(stderr, "invalid argument: %s\n", error.what());
    return 2;
} catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
