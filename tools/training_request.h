// The command line of glow_train, also for callers that build one themselves.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "runtime/communicator.h"
#include "tools/command_line.h"
#include "tools/config_file.h"
#include "train/run.h"

namespace glow {

// A run as requested on the command line.
struct TrainingRequest : RunRequest {
    std::string device_text = "auto", resume_text;
    CommunicatorKind communicator = CommunicatorKind::automatic;
    std::string preset, config;
    bool plan = false, estimate = false, print_config = false, save_limits = false;
    int requeue_exit = 75;  // EX_TEMPFAIL of sysexits.h
    bool requeue_max_minutes = false;
    ValueOrigins origins;       // origins of values from a file
    std::string moved_data;     // message if the run's data set was found elsewhere, else empty
    std::string unused_preset;  // warning if a resumed run has other settings than --preset, else empty
    std::string mistaken_out;   // message if another folder of almost this name holds a run
};

// Adds all options to `command`. Their defaults come from the preset, the run to resume and the file of
// --config that the arguments name; the arguments themselves are parsed later. request must outlive the
// command's options.
void add_training_request(CommandLine& command, const std::shared_ptr<TrainingRequest>& request, int argc,
                          char** argv);

// After parsing: completes the request, and throws InputError if it cannot be run. With --print-config only
// the options are checked.
void complete_request(const CommandLine& command, TrainingRequest& request);

// Reports the notes of a complete request through its info and warn. The note that --out may be a mistake for
// another folder goes to report_mistaken.
void print_notes(const TrainingRequest& request,
                 const std::function<void(const std::string&)>& report_mistaken);

}  // namespace glow
