#include "python/training.h"

#include <locale.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>

#include "data/formats/file_lock.h"
#include "data/formats/input_path.h"
#include "kernels/error.h"
#include "python/gil.h"
#include "runtime/watchdog.h"
#include "train/resume.h"
#include "train/run_folder.h"
#include "train/stop_signals.h"

namespace glow {
namespace {

// Gives this thread a decimal point: CLI11 parses numbers with the C library, and the calling program's
// locale may use a comma.
class DecimalPoint {
  public:
    DecimalPoint()
        : decimal_(newlocale(LC_NUMERIC_MASK, "C", duplocale(LC_GLOBAL_LOCALE))),
          before_(uselocale(decimal_)) {}
    ~DecimalPoint() {
        uselocale(before_);
        if (decimal_ != nullptr) freelocale(decimal_);
    }
    DecimalPoint(const DecimalPoint&) = delete;
    DecimalPoint& operator=(const DecimalPoint&) = delete;

  private:
    locale_t decimal_, before_;
};

}  // namespace

Training::Training(std::vector<std::string> arguments, const ArrayDataset* images)
    : process_(getpid()), request_(std::make_shared<TrainingRequest>()) {
    const DecimalPoint point;
    CommandLine command("glow_train", "");
    arguments.insert(arguments.begin(), "glow_train");
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    const int argc = static_cast<int>(argv.size());
    add_training_request(command, request_, argc, argv.data());
    bool complete = false;
    command.action([&] {
        try {
            complete_request(command, *request_);
            complete = true;
        } catch (const InputError& error) {
            throw InputError(with_origin(command.app(), request_->origins, error.what()));
        }
    });
    command.parse_and_run(argc, argv.data());
    if (!complete || request_->plan || request_->estimate || request_->print_config)
        throw InputError("options that only print something exist only on the command line");

    // The program may change its folder during the run.
    for (auto* const name : {&request_->options.data, &request_->init_from, &request_->resume_from})
        if (!name->empty()) *name = absolute_name(*name);
    request_->info = [this](const std::string& line) { push({"message", line, ""}); };
    request_->warn = [this](const std::string& line) { push({"warning", line, ""}); };
    request_->metrics = [this](const std::string& columns, const std::string& cells) {
        push({"metrics", cells, columns});
    };
    request_->stop = [this] {
        const std::lock_guard lock(mutex_);
        return stopping_ || interpreter_ended;
    };
    if (images != nullptr) write_images(*images);
    print_notes(*request_, request_->warn);  // messages are not shown by default
    thread_ = thread_without_signals([this, working = std::make_shared<WorkingThread>()] { run(); });
}

void Training::write_images(const ArrayDataset& images) {
    const std::filesystem::path file = request_->options.data;
    const RunFolder folder(request_->options.out);
    if (!request_->resume) find_run_to_resume(*request_, folder);  // refuses a folder with a run
    try {
        made_folder_ = !is_present(folder.path());
        folder.make();
        const FileLock lock(folder.lock(), request_->options.out, "choose another --out");
        if (is_present(file)) {
            const std::string difference = images.difference(file);
            if (!difference.empty())
                throw InputError(fmt::format(
                    "{}: it {}: {}", file.string(), difference,
                    folder.holds_run()
                        ? "continue the run with its images, with None to read them from this file, or with "
                          "the name of another data set, made by save_dataset()"
                        : "remove it, or choose another out"));
        } else if (folder.holds_run()) {
            throw InputError(fmt::format(
                "{}: it does not exist, so the run began with another data set: pass its name, or None",
                file.string()));
        } else {
            images.write(file);
            wrote_images_ = true;
        }
    } catch (...) {
        remove_images();
        throw;
    }
}

void Training::remove_images() {
    std::error_code ignored;
    try {
        const RunFolder folder(request_->options.out);
        const FileLock lock(folder.lock(), request_->options.out, "");
        if (folder.holds_run()) return;
        if (wrote_images_) std::filesystem::remove(request_->options.data, ignored);
    } catch (const Error&) {
        return;  // another run uses them
    }
    if (made_folder_) std::filesystem::remove(request_->options.out, ignored);  // if empty
}

bool Training::in_this_process() const {
    return process_ == getpid();
}

Training::~Training() {
    stop();
    if (thread_.joinable()) thread_.join();
}

void Training::run() {
    const CallerHandlesSignals python_handles_signals;
    std::exception_ptr failure;
    std::string result;
    try {
        result = to_json(run_training(*request_)).dump();
    } catch (...) {
        failure = std::current_exception();
        remove_images();
    }
    const std::lock_guard lock(mutex_);
    failure_ = failure;
    result_ = result;
    ended_ = true;
    changed_.notify_all();
}

void Training::push(TrainingEvent event) {
    const std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
    changed_.notify_all();
}

std::optional<TrainingEvent> Training::next(double seconds) {
    if (!in_this_process())
        throw Error("this training runs in the parent of this process, which alone can use it");
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::duration<double>(seconds),
                      [this] { return ended_ || !events_.empty(); });
    if (!events_.empty()) {
        TrainingEvent event = std::move(events_.front());
        events_.pop_front();
        return event;
    }
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
    return {};
}

void Training::stop() {
    if (!in_this_process()) return;
    const std::lock_guard lock(mutex_);
    stopping_ = true;
}

std::string Training::result() const {
    if (!in_this_process()) return "";
    const std::lock_guard lock(mutex_);
    return result_;
}

bool Training::ended() const {
    if (!in_this_process()) return true;
    const std::lock_guard lock(mutex_);
    return ended_ && events_.empty() && !failure_;
}

}  // namespace glow
