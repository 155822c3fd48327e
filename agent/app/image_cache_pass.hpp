#pragma once
// The periodic cleaning of the image cache: which images the records need, and the files.
#include "agent/objects/conductor.hpp"
#include "config/schema/config.hpp"

namespace novalet::app {

/// One pass over the host's image cache (nova.compute.manager._run_image_cache_manager_pass).
/// Hosts that share the folder are found and their servers counted as well. Failures are logged
/// and remove nothing.
void run_image_cache_pass(const config::Config& config, objects::Conductor& conductor);

} // namespace novalet::app
