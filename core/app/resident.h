// What only the start needed goes out of memory: the heap's free pages, and the mapped code of libraries that was read
// for relocation, schema checks and OpenSSL's own set-up. The kernel maps a page again when it is called for.
// Main thread, once the daemon is ready. Does nothing where the kernel cannot.
#pragma once

namespace portolan {

void release_startup_memory() noexcept;

}  // namespace portolan
