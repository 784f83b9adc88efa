// Threads of the addon leave signals to the threads of Node.js.
#pragma once

#include <csignal>
#include <pthread.h>

#include <thread>
#include <utility>

namespace mmapdb {

// Starts a thread that takes no signals but those that the hardware raises: these come to the thread that caused them,
// blocked or not, and a lost page (fault_guard.h) must find its handler there, too. Throws std::system_error.
template <typename Body>
std::thread WithoutSignals(Body body) {
  sigset_t blocked, before;
  sigfillset(&blocked);
  for (const int raised : {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP}) sigdelset(&blocked, raised);
  // A thread begins with the mask of its maker.
  pthread_sigmask(SIG_BLOCK, &blocked, &before);
  try {
    std::thread thread(std::move(body));
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return thread;
  } catch (...) {
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw;
  }
}

}  // namespace mmapdb
