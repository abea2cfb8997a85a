// glow._glow: the classes behind the Python package, which adapts arguments and results (glow/model.py).
#include <fmt/format.h>
#include <pthread.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <mutex>
#include <thread>
#include <type_traits>

#include "data/formats/hdf5_probe.h"
#include "data/formats/input_path.h"
#include "data/source.h"
#include "inference/latents.h"
#include "inference/model_file.h"
#include "inference/model_session.h"
#include "kernels/error.h"
#include "python/arrays.h"
#include "python/dataset.h"
#include "python/gil.h"
#include "python/training.h"
#include "runtime/cuda.h"
#include "runtime/device.h"
#include "tools/command_line.h"
#include "tools/output_files.h"

namespace glow {
namespace {

constexpr const char* kForce = "force=True";  // in messages

// Latents, one array for each level.
using Levels = std::vector<py::array_t<double, py::array::c_style>>;

// A model and the device that it runs on. One call at a time; others wait.
class Model {
  public:
    Model(const std::string& file, bool averaged, const std::string& device, const std::string& precision,
          index_t batch, int threads) {
        open(file, {averaged, parse_device(device), threads, parse_name<Precision>(precision), batch});
        averaged_ = session_->used_averages();
        config_ = session_->trained_config();
        step_ = session_->step();
    }

    std::string config_json() const { return to_json(config_).dump(); }
    std::string device() const { return to_string(device_); }
    index_t step() const { return step_; }
    bool averaged() const { return averaged_; }

    void move(const std::string& device) {
        GilReleased released;
        const Use use(*this, released);
        if (parse_device(device) == session_->device()) return;
        require_device(parse_device(device));
        ScratchFolder folder;
        folder.make();
        session_->save_weights(folder.path() / "model.h5");
        SessionOptions options = options_;
        options.averaged = false;
        options.device = parse_device(device);
        open(folder.path() / "model.h5", options);
    }
    void save(const std::string& file, bool force) {
        GilReleased released;
        const Use use(*this, released);
        refuse_suffix_of_other_format(file);
        const NamedPath output{"save():", file};
        refuse_file_of_run(output);  // its checkpoints hold more than the weights
        const auto lock = lock_output(output);
        refuse_existing(file, force, kForce);
        session_->save_weights(file);
    }

    // {name: float32 or int32 array}, as in files in safetensors format.
    py::dict weights() {
        struct Values {
            std::string name;
            std::vector<py::ssize_t> shape;
            bool integer;
            std::vector<float> values;
        };
        std::vector<Values> all;
        {
            GilReleased released;
            const Use use(*this, released);
            session_->for_each_weight([&all](const Tensor& tensor, const float* values) {
                all.push_back({tensor.name,
                               {tensor.shape.begin(), tensor.shape.end()},
                               tensor.integer,
                               {values, values + tensor.count}});
            });
        }
        py::dict result;
        for (const Values& one : all) {
            const auto copy = [&one](auto array) {
                std::copy(one.values.begin(), one.values.end(), array.mutable_data());
                return py::array(array);
            };
            result[py::str(one.name)] = one.integer ? copy(py::array_t<std::int32_t>(one.shape))
                                                    : copy(py::array_t<float>(one.shape));
        }
        return result;
    }

    py::array_t<double> bits_per_dim(const py::object& x, const py::object& labels, std::uint64_t seed,
                                     index_t number, index_t dequant_samples, index_t iw_samples) {
        LikelihoodRequest request;
        request.seed = seed;
        request.dequant_samples = dequant_samples;
        request.iw_samples = iw_samples;
        check_draws(request);
        const GivenImages found = given(x, labels, number);
        const ModelConfig& model = found.model;
        const PixelArray& images = found.array;
        const bool bytes = std::holds_alternative<const std::uint8_t*>(images.values);
        if (!bytes && dequant_samples * iw_samples > 1)
            throw InputError("iw_samples and dequant_samples draw noise, which only uint8 images get");
        py::array_t<double> result(images.N);
        double* const bits = result.mutable_data();
        for_each_pass(model, images.N, [&](index_t first, index_t count, GilReleased& released) {
            const PixelArray slice = images.slice(first, count, model.dimensions());
            request.progress = [&released](index_t, index_t) { released.handle_signals_sometimes(); };
            std::ranges::copy(session_->bits_per_dim(slice, request), bits + first);
        });
        return result;
    }

    py::tuple log_prob_and_gradient(const py::object& x, const py::object& labels, std::uint64_t seed,
                                    index_t number) {
        const GivenImages found = given(x, labels, number);
        const ModelConfig& model = found.model;
        const PixelArray& images = found.array;
        py::array_t<double> log_prob(images.N);
        double* const values = log_prob.mutable_data();
        const auto [gradient, slopes] = new_gradient(found);
        float* const to = slopes;
        for_each_pass(model, images.N, [&](index_t first, index_t count) {
            const index_t D = model.dimensions();
            session_->log_prob_and_gradient(images.slice(first, count, D), seed, values + first,
                                            to + first * D);
        });
        return py::make_tuple(log_prob, gradient);
    }

    py::array_t<double> log_density_map(const py::object& x, const py::object& labels, std::uint64_t seed,
                                        index_t number) {
        const GivenImages found = given(x, labels, number);
        const ModelConfig& model = found.model;
        const PixelArray& images = found.array;
        const ImageSize size = density_map_size(model);
        py::array_t<double> result({images.N, size.H, size.W});
        double* const values = result.mutable_data();
        for_each_pass(model, images.N, [&](index_t first, index_t count) {
            session_->log_density_map(images.slice(first, count, model.dimensions()), seed,
                                      values + first * size.H * size.W);
        });
        return result;
    }

    py::list encode(const py::object& x, const py::object& labels) {
        const GivenImages found = given(x, labels);
        const ModelConfig& model = found.model;
        const PixelArray& images = found.array;
        py::list levels;
        std::vector<double*> values(static_cast<std::size_t>(model.levels));
        for (index_t l = 0; l < model.levels; ++l) {
            const Shape shape = latent_shape(model, l);
            py::array_t<double> level({images.N, shape.H, shape.W, shape.C});
            values[l] = level.mutable_data();
            levels.append(level);
        }
        for_each_pass(model, images.N, [&](index_t first, index_t count) {
            session_->encode(images.slice(first, count, model.dimensions()),
                             from_image(model, values, first));
        });
        return levels;
    }

    // levels: the gradient of a function of the latents that encode() returns. Returns that of the images.
    py::object encode_gradient(const py::object& x, const py::object& labels, const Levels& levels) {
        const GivenImages found = given(x, labels);
        const ModelConfig& model = found.model;
        const PixelArray& images = found.array;
        const std::vector<const double*> upstream = values_of(model, images.N, levels);
        const auto [gradient, slopes] = new_gradient(found);
        float* const to = slopes;
        for_each_pass(model, images.N, [&](index_t first, index_t count) {
            const index_t D = model.dimensions();
            session_->encode_gradient(images.slice(first, count, D), from_image(model, upstream, first),
                                      to + first * D);
        });
        return gradient;
    }

    // (images, what is wrong with some of them: SampleHealth::text())
    py::tuple decode(const Levels& levels, const py::object& labels) {
        require_all_levels(levels);
        const auto& finest = levels[0];
        const index_t N = finest.ndim() > 0 ? finest.shape(0) : 0;
        const ModelConfig model = finest.ndim() == 4
                                      ? with_image_size(config_, {2 * finest.shape(1), 2 * finest.shape(2)})
                                      : config_;
        const std::vector<const double*> values = values_of(model, N, levels);
        const std::vector<std::int32_t> classes = labels_of(model, N, labels);
        py::array_t<std::uint8_t> images = new_images(model, N);
        std::uint8_t* const pixels = images.mutable_data();
        SampleHealth health;
        for_each_pass(model, N, [&](index_t first, index_t count) {
            health.add(session_->decode(count, from_image(model, values, first),
                                        classes.empty() ? nullptr : classes.data() + first,
                                        pixels + first * model.dimensions()));
        });
        return py::make_tuple(images, health.text());
    }

    // As decode(), with log_prob [n] or None. height, width: 0 for those of the training images.
    py::tuple sample(index_t n, double temperature, const py::object& labels, std::uint64_t seed,
                     index_t height, index_t width, bool with_log_prob) {
        if (n < 0 || !(temperature >= 0 && temperature <= 100))
            throw InputError("sample: expected n >= 0 and a temperature between 0 and 100");
        const ModelConfig model = height > 0 ? with_image_size(config_, {height, width}) : config_;
        const std::vector<std::int32_t> classes = labels_of(model, n, labels);
        py::array_t<std::uint8_t> images = new_images(model, n);
        std::uint8_t* const pixels = images.mutable_data();
        py::object log_prob = py::none();
        double* densities = nullptr;
        if (with_log_prob) {
            py::array_t<double> array(n);
            densities = array.mutable_data();
            log_prob = array;
        }
        SampleHealth health;
        for_each_pass(model, n, [&](index_t first, index_t count) {
            health.add(session_->sample(
                {count, temperature, seed, classes.empty() ? nullptr : classes.data() + first, first},
                pixels + first * model.dimensions(), nullptr,
                densities != nullptr ? densities + first : nullptr));
        });
        return py::make_tuple(images, health.text(), log_prob);
    }

  private:
    // Exclusive use of the model by a thread.
    class Use {
      public:
        Use(Model& model, GilReleased& released) : model_(model) {
            const std::thread::id self = std::this_thread::get_id();
            if (model.user_ == self)  // waiting for the call that Python interrupted would never end
                throw Error("this thread is using the model: a signal handler needs a model of its own");
            if (model.user_ != std::thread::id() && model.user_process_ != getpid())
                throw Error(
                    "this process was forked while another thread used the model: load the model again here");
            while (!model.mutex_.try_lock_for(std::chrono::milliseconds(100))) released.handle_signals();
            model.user_process_ = getpid();
            model.user_ = self;
            try {
                device_ = model.session_->select_device();
            } catch (...) {
                release();
                throw;
            }
        }
        ~Use() {
            device_.reset();
            release();
        }
        Use(const Use&) = delete;
        Use& operator=(const Use&) = delete;

      private:
        void release() {
            model_.user_ = std::thread::id();
            model_.mutex_.unlock();
        }

        Model& model_;
        std::unique_ptr<cuda::DeviceScope> device_;  // of the caller's own work otherwise
    };
    void open(const std::filesystem::path& file, const SessionOptions& options) {
        session_ = std::make_unique<ModelSession>(file, options);
        options_ = options;
        device_ = session_->device();
    }
    // Calls f(first, count), or f(first, count, GilReleased), for every pass over N images of a size, without
    // the GIL. In between Python handles signals: Ctrl-C ends a long call.
    template <class F>
    void for_each_pass(const ModelConfig& sized, index_t N, F f) {
        GilReleased released;
        const Use use(*this, released);
        session_->set_image_size(image_size(sized));
        const index_t batch = session_->capacity();
        for (index_t first = 0; first < N; first += batch) {
            const index_t count = std::min(batch, N - first);
            if constexpr (std::is_invocable_v<F&, index_t, index_t, GilReleased&>)
                f(first, count, released);
            else
                f(first, count);
            released.handle_signals();
        }
    }
    void require_all_levels(const Levels& levels) const {
        if (std::ssize(levels) != config_.levels)
            throw InputError(fmt::format("{} arrays of latents, expected one for each of {} levels",
                                         levels.size(), config_.levels));
    }
    // The latents of N images, by level. Throws InputError for other shapes.
    std::vector<const double*> values_of(const ModelConfig& model, index_t N, const Levels& levels) const {
        require_all_levels(levels);
        std::vector<const double*> values;
        for (index_t l = 0; l < model.levels; ++l) {
            const Shape shape = latent_shape(model, l);
            const auto& level = levels[static_cast<std::size_t>(l)];
            if (level.ndim() != 4 || level.shape(0) != N || level.shape(1) != shape.H ||
                level.shape(2) != shape.W || level.shape(3) != shape.C)
                throw InputError(
                    fmt::format("latents of level {} must be [N, {}, {}, {}], with one N for all", l, shape.H,
                                shape.W, shape.C));
            values.push_back(level.data());
        }
        return values;
    }
    // A float32 array for the gradient of images, in their memory, and its values.
    static std::pair<py::object, float*> new_gradient(const GivenImages& images) {
        const ModelConfig& model = images.model;
        const std::vector<py::ssize_t> shape = {images.array.N, model.image_height, model.image_width,
                                                model.channels};
        if (images.array.on_device) {
            const cuda::DeviceScope gpu(0);  // the model's, whatever the caller selected
            const py::object gradient = py::cast(DeviceArray(shape));
            return {gradient, static_cast<float*>(gradient.cast<const DeviceArray&>().data())};
        }
        py::array_t<float> array(shape);
        return {array, array.mutable_data()};
    }
    // The latents of all levels from image `first` on.
    template <class T>
    static std::vector<T*> from_image(const ModelConfig& model, std::vector<T*> levels, index_t first) {
        for (index_t l = 0; l < std::ssize(levels); ++l) levels[l] += first * latent_shape(model, l).size();
        return levels;
    }
    // number: of the first image, for noise and messages.
    GivenImages given(const py::object& x, const py::object& labels, index_t number = 0) const {
        GivenImages images = images_of(config_, x, labels);
        images.array.number = number;
        if (images.array.on_device && device_ != Device::cuda)
            throw InputError("the array is on a GPU, but the model is on the CPU: use to(\"cuda\")");
        return images;
    }
    static Shape latent_shape(const ModelConfig& model, index_t level) {
        for (const LatentLevel& each : latent_levels(model))
            if (each.level == level) return each.shape;
        return {};
    }
    static py::array_t<std::uint8_t> new_images(const ModelConfig& model, index_t n) {
        if (n > (index_t{1} << 52) / model.dimensions()) throw std::bad_alloc();
        return py::array_t<std::uint8_t>({n, model.image_height, model.image_width, model.channels});
    }

    SessionOptions options_;  // those of session_
    ModelConfig config_;      // of the checkpoint
    index_t step_ = 0;
    bool averaged_ = false;
    std::atomic<Device> device_ = Device::cpu;
    std::timed_mutex mutex_;
    std::atomic<std::thread::id> user_ = std::thread::id();  // that holds the mutex
    std::atomic<pid_t> user_process_ = 0;                    // of that thread
    std::unique_ptr<ModelSession> session_;
};

// Before and after the images are collected, which may take long.
void refuse_dataset_file(const std::string& file, bool force) {
    refuse_file_of_run({"save_dataset():", file});
    refuse_existing(file, force, kForce);
}

void write_arrays(const std::string& file, const std::string& name, const py::dict& splits, bool force) {
    const ArrayDataset images(name, splits);
    const GilReleased released;
    const auto lock = lock_output({"save_dataset():", file});
    refuse_dataset_file(file, force);
    images.write(file);
}

// Which of `count` images a fraction takes for validation, as glow_data does by default. labels: int32 [count]
// or None.
py::array_t<bool> draw_images_for_validation(index_t count, double fraction, const py::object& labels) {
    std::vector<std::int32_t> classes(static_cast<std::size_t>(count));
    std::int32_t n_classes = 0;
    if (!labels.is_none()) {
        const auto array = labels.cast<py::array_t<std::int32_t, py::array::c_style>>();
        if (array.ndim() != 1 || array.shape(0) != count)
            throw InputError("expected one label for each image");
        std::copy_n(array.data(), count, classes.begin());
        const auto [low, high] = std::minmax_element(classes.begin(), classes.end());
        if (count > 0 && (*low < 0 || *high >= kMaxClasses))
            throw InputError("labels must be in 0 .. 2^20 - 1");
        n_classes = count > 0 ? *high + 1 : 0;
    }
    const std::vector<bool> drawn = draw_validation(classes, n_classes, {.valid = fraction});
    py::array_t<bool> result(count);
    std::copy(drawn.begin(), drawn.end(), result.mutable_data());
    return result;
}

// Python collects a training while it holds the GIL, but the run's last step and checkpoint may take long.
struct EndTraining {
    void operator()(Training* training) const {
        if (!training->in_this_process()) return;
        const GilReleased released;
        delete training;
    }
};

void set_errors() {
    py::register_exception_translator([](std::exception_ptr thrown) {
        try {
            if (thrown) std::rethrow_exception(thrown);
        } catch (const InputError& error) {
            PyErr_SetString(PyExc_ValueError, error.what());
        } catch (const Error& error) {
            PyErr_SetString(PyExc_RuntimeError, error.what());
        }
    });
}

// For the daemon threads of the program.
void wait_for_threads_at_the_end() {
    pthread_atfork(nullptr, nullptr, [] { working_threads = 0; });  // a child has none of them
    Py_AtExit(&wait_for_working_threads);
}

// pybind11 before 2.12 supports the arrays of NumPy 1 only: with NumPy 2, new arrays would repeat one value.
void refuse_newer_numpy() {
#if PYBIND11_VERSION_HEX < 0x020C0000
    const auto version = py::module_::import("numpy").attr("__version__").cast<std::string>();
    if (!version.starts_with("1."))
        throw py::import_error(fmt::format(
            "this glow was built with pybind11 {}.{}, which needs NumPy 1, not {}: pip install builds it with another",
            PYBIND11_VERSION_MAJOR, PYBIND11_VERSION_MINOR, version));
#endif
}

}  // namespace
}  // namespace glow

PYBIND11_MODULE(_glow, module) {
    using namespace glow;
    set_errors();
    refuse_newer_numpy();
    wait_for_threads_at_the_end();
    hdf5::require_probe();  // a damaged file must not end the interpreter
    module.attr("version") = glow_version();
    module.def("cuda_problem", &cuda_problem);
    module.def("refuse_dataset_file", &refuse_dataset_file);
    module.def("write_dataset", &write_arrays);
    module.def("draw_validation", &draw_images_for_validation);
    module.def("is_missing_or_forbidden", &is_missing_or_forbidden);

    py::class_<DeviceArray>(module, "DeviceArray")
        .def(py::init<const py::capsule&>())
        .def_property_readonly("shape",
                               [](const DeviceArray& array) { return py::tuple(py::cast(array.shape())); })
        .def("__dlpack__",
             [](const DeviceArray& array, const py::args&, const py::kwargs&) { return array.to_dlpack(); })
        .def("__dlpack_device__", [](const DeviceArray&) { return py::make_tuple(2, 0); });

    py::class_<Model>(module, "Model")
        .def(py::init<const std::string&, bool, const std::string&, const std::string&, index_t, int>(),
             py::call_guard<GilReleased>())
        .def_property_readonly("config", &Model::config_json)
        .def_property_readonly("device", &Model::device)
        .def_property_readonly("step", &Model::step)
        .def_property_readonly("averaged", &Model::averaged)
        .def("move", &Model::move)
        .def("save", &Model::save)
        .def("weights", &Model::weights)
        .def("bits_per_dim", &Model::bits_per_dim)
        .def("log_prob_and_gradient", &Model::log_prob_and_gradient)
        .def("log_density_map", &Model::log_density_map)
        .def("encode", &Model::encode)
        .def("encode_gradient", &Model::encode_gradient)
        .def("decode", &Model::decode)
        .def("sample", &Model::sample);

    py::class_<Training, std::unique_ptr<Training, EndTraining>>(module, "Training")
        .def(py::init([](std::vector<std::string> arguments, const py::object& splits) {
            std::optional<ArrayDataset> images;
            if (!splits.is_none()) images.emplace("images", splits.cast<py::dict>());
            const GilReleased released;
            return std::unique_ptr<Training, EndTraining>(
                new Training(std::move(arguments), images ? &*images : nullptr));
        }))
        .def("next",
             [](Training& training, double seconds) -> py::object {
                 std::optional<TrainingEvent> event;
                 {
                     const GilReleased released;
                     event = training.next(seconds);
                 }
                 if (!event) return py::none();
                 return py::make_tuple(event->kind, event->text, event->columns);
             })
        .def("stop", &Training::stop, py::call_guard<GilReleased>())
        .def_property_readonly("ended", &Training::ended)
        .def_property_readonly("result", &Training::result);
}
