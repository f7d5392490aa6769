// Runs the threads of a block as fibers that change places at barriers. A block ends wrongly where threads wait that
// can never meet, and where memory beyond an array is touched.
#include "shim.h"
#include "launch.h"

#include <csetjmp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ucontext.h>
#include <utility>
#include <vector>

Index threadIdx, blockIdx, blockDim, gridDim;

// The linker gives the bounds of the section; the weak ones are for kernels that share nothing.
extern char __start_block_shared[] __attribute__((weak));
extern char __stop_block_shared[] __attribute__((weak));

namespace {
enum State { READY, AT_BLOCK, IN_WARP, DONE };
constexpr int WARP = 32;
constexpr size_t STACK = 1 << 16;

struct Fiber {
  ucontext_t context;
  jmp_buf at;
  std::vector<char> stack = std::vector<char>(STACK);
  bool begun = false;
  State state = DONE;
  int line = 0;
  int kind = 0;
  // One exchange writes the one slot while the other is still read.
  unsigned slot[2];
  int exchanges = 0;
};

std::vector<Fiber *> fibers;
Fiber *current;
jmp_buf scheduler;
sigjmp_buf fault;
void (*body)(void *);
void *bodyGiven;
char message[256];

void enter() {
  for (;;) {
    body(bodyGiven);
    current->state = DONE;
    if (_setjmp(current->at) == 0) _longjmp(scheduler, 1);
  }
}

void giveWay() {
  if (_setjmp(current->at) == 0) _longjmp(scheduler, 1);
}

void resume(unsigned t) {
  Fiber &fiber = *fibers[t];
  current = &fiber;
  threadIdx = {t, 0, 0};
  if (_setjmp(scheduler) != 0) return;
  if (fiber.begun) _longjmp(fiber.at, 1);
  fiber.begun = true;
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.data();
  fiber.context.uc_stack.ss_size = fiber.stack.size();
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, enter, 0);
  setcontext(&fiber.context);
}

// Lets those continue that have all met, and returns whether any could.
bool releaseWarp(unsigned first) {
  for (unsigned t = first; t < first + WARP; t++) {
    if (fibers[t]->state != IN_WARP || fibers[t]->line != fibers[first]->line || fibers[t]->kind != fibers[first]->kind)
      return false;
  }
  for (unsigned t = first; t < first + WARP; t++) fibers[t]->state = READY;
  return true;
}

bool releaseBlock(unsigned threads) {
  for (unsigned t = 0; t < threads; t++) {
    if (fibers[t]->state != AT_BLOCK || fibers[t]->line != fibers[0]->line) return false;
  }
  for (unsigned t = 0; t < threads; t++) fibers[t]->state = READY;
  return true;
}

unsigned randomNext(unsigned &state) { return state = state * 1664525u + 1013904223u; }

std::vector<unsigned> ordered(unsigned count, int order, unsigned &random) {
  std::vector<unsigned> places(count);
  for (unsigned i = 0; i < count; i++) places[i] = order == BACKWARDS ? count - 1 - i : i;
  if (order == SHUFFLED) {
    for (unsigned i = count; i > 1; i--) std::swap(places[i - 1], places[(randomNext(random) >> 8) % i]);
  }
  return places;
}

bool runBlock(unsigned threads, int order, unsigned &random) {
  for (unsigned t = 0; t < threads; t++) fibers[t]->state = READY;
  if (__start_block_shared) memset(__start_block_shared, 0xff, __stop_block_shared - __start_block_shared);
  for (;;) {
    if (order == SHUFFLED) {
      // All warps at once, and lanes of all of them mixed.
      for (unsigned t : ordered(threads, order, random)) {
        if (fibers[t]->state == READY) resume(t);
      }
    } else {
      // One warp as far as it gets alone, then the next: this is how far apart warps may be.
      for (unsigned warp : ordered(threads / WARP, order, random)) {
        do {
          for (unsigned lane : ordered(WARP, order, random)) {
            const unsigned t = warp * WARP + lane;
            if (fibers[t]->state == READY) resume(t);
          }
        } while (releaseWarp(warp * WARP));
      }
    }
    unsigned done = 0;
    for (unsigned t = 0; t < threads; t++) done += fibers[t]->state == DONE;
    if (done == threads) return true;
    bool released = releaseBlock(threads);
    for (unsigned first = 0; first < threads; first += WARP) released = releaseWarp(first) || released;
    if (!released) {
      for (unsigned t = 0; t < threads; t++) {
        if (fibers[t]->state == DONE) continue;
        snprintf(message, sizeof message, "threads diverged: thread %u of block (%u, %u) waits in line %d, %u are done",
                 t, blockIdx.x, blockIdx.y, fibers[t]->line, done);
        return false;
      }
    }
  }
}

void onFault(int, siginfo_t *info, void *) {
  snprintf(message, sizeof message, "thread %u of block (%u, %u) touched memory that is not its own, at %p", threadIdx.x,
           blockIdx.x, blockIdx.y, info->si_addr);
  siglongjmp(fault, 1);
}
}  // namespace

void meetBlock(int line) {
  current->state = AT_BLOCK;
  current->line = line;
  giveWay();
}

unsigned exchangeInWarp(unsigned value, int kind, int argument, unsigned mask, int line) {
  Fiber &self = *current;
  const unsigned t = threadIdx.x;
  if (mask != 0xffffffffu) abort();
  const int slot = self.exchanges++ & 1;
  self.slot[slot] = value;
  self.state = IN_WARP;
  self.line = line;
  self.kind = kind;
  giveWay();
  const unsigned first = t / WARP * WARP, lane = t % WARP;
  if (kind == BALLOT) {
    unsigned bits = 0;
    for (unsigned i = 0; i < WARP; i++) bits |= fibers[first + i]->slot[slot] << i;
    return bits;
  }
  const int from = kind == SHUFFLE ? argument % WARP : kind == SHUFFLE_XOR ? int(lane ^ argument) : int(lane) - argument;
  return from < 0 ? value : fibers[first + from]->slot[slot];
}

const char *launchGrid(int x, int y, int threads, int order, unsigned seed, void (*thread)(void *), void *given) {
  if (threads % WARP != 0 || threads > 1024) return "a block has whole warps, 1024 threads at most";
  while (fibers.size() < size_t(threads)) fibers.push_back(new Fiber);
  for (Fiber *fiber : fibers) fiber->exchanges = 0;
  static std::vector<char> signalStack(1 << 16);
  stack_t stack = {signalStack.data(), 0, signalStack.size()}, stackBefore;
  struct sigaction action = {}, before, beforeBus;
  action.sa_sigaction = onFault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  sigaltstack(&stack, &stackBefore);
  sigaction(SIGSEGV, &action, &before);
  sigaction(SIGBUS, &action, &beforeBus);
  body = thread;
  bodyGiven = given;
  blockDim = {unsigned(threads), 1, 1};
  gridDim = {unsigned(x), unsigned(y), 1};
  bool right = sigsetjmp(fault, 1) == 0;
  if (right) {
    unsigned random = seed;
    for (unsigned block : ordered(unsigned(x) * y, order, random)) {
      blockIdx = {block % x, block / x, 0};
      if (!(right = runBlock(threads, order, random))) break;
    }
  }
  sigaction(SIGSEGV, &before, nullptr);
  sigaction(SIGBUS, &beforeBus, nullptr);
  sigaltstack(&stackBefore, nullptr);
  if (right) return nullptr;
  // Fibers that stopped halfway cannot be reused.
  for (Fiber *fiber : fibers) delete fiber;
  fibers.clear();
  return message;
}
