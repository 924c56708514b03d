// Bench of a processor core under Verilator: memories, clock, and a line protocol with the driver.
//
//   referee FILE entry=ADDRESS stack=ADDRESS imem=BASE,SIZE,WAIT dmem=... packet=... registers=BASE,SIZE,WAIT device=OFFSET
//
// FILE holds the device's memories, each at its address less that of instruction memory; the driver reads and writes them
// while the core stands. `registers` is the register page, of which the core may write words from OFFSET on. WAIT is the
// number of wait states of a data access: it is answered 1 + WAIT cycles after it was granted, and the next one is granted
// when it has been answered. Instruction fetch has none. Numbers are as C writes them.
//
// On standard input `run BUDGET`; the core then runs until it sleeps in `wfi` or has retired BUDGET instructions (with a `wfi` as
// the last one it is waiting). The answer is one line, with instructions retired and cycles since the start:
//   waiting RETIRED CYCLES
//   budget RETIRED CYCLES
//   trap RETIRED CYCLES PC REASON       where REASON is one of
//     load ADDRESS SIZE | store ADDRESS SIZE | misaligned ADDRESS SIZE   an access that no memory takes
//     fetch                                                              a jump to outside instruction memory
//     exception                                                          the core trapped: an illegal instruction, a call
// Neither counts the boot ROM. Cycles run from the one in which the image's first instruction retires, and stand while the
// core sleeps. After a trap every `run` gives the same answer. The end of input ends the program.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "Vreferee.h"
#include "verilated.h"

namespace {

// The boot ROM answers here until the image runs. Traps go to its start, where nothing is: fetching from there is the sign.
constexpr uint32_t TRAP = 0x1000;
constexpr uint32_t BOOT = 0x1080;
constexpr uint32_t WFI = 0x10500073;
// Cycles without a retired instruction after which the core is said to hang: far more than the longest division with waits.
constexpr uint64_t PATIENCE = 100000;

[[noreturn]] void fail(const std::string &what) {
    std::fprintf(stderr, "referee: %s\n", what.c_str());
    std::exit(2);
}

struct Region {
    uint32_t base = 0, size = 0, wait = 0;
    uint8_t *bytes = nullptr;

    bool holds(uint32_t address) const { return address - base < size; }
    uint32_t load(uint32_t address) const {
        uint32_t word;
        std::memcpy(&word, bytes + ((address - base) & ~3u), 4);
        return word;
    }
    void store(uint32_t address, uint32_t word, unsigned lanes) {
        uint8_t *place = bytes + ((address - base) & ~3u);
        for (unsigned lane = 0; lane < 4; lane++)
            if (lanes >> lane & 1) place[lane] = uint8_t(word >> 8 * lane);
    }
};

struct Options {
    const char *file = nullptr;
    uint32_t entry = 0, stack = 0, device = 0;
    Region imem, dmem, packet, registers;
};

class Bench {
  public:
    explicit Bench(const Options &options) : options_(options) {
        make_rom();
        core_.boot_addr_i = BOOT;
        core_.trap_addr_i = TRAP;
        core_.instr_gnt_i = 1;
        core_.wake_i = 0;
        // Asynchronous resets need the edge, not the level.
        core_.clk_i = 0;
        core_.rst_ni = 1;
        core_.eval();
        core_.rst_ni = 0;
        core_.eval();
        for (int cycle = 0; cycle < 4; cycle++) clock();
        core_.rst_ni = 1;
    }

    // Runs, and prints how it ended.
    void run(uint64_t budget) {
        uint64_t until = retired_ + budget;
        uint64_t patience = cycles_ + PATIENCE;
        uint64_t boot_patience = PATIENCE;
        uint64_t seen = retired_;
        bool woken = !asleep_;
        core_.wake_i = asleep_;
        if (asleep_) drowsy_ = false;
        while (trap_.empty() && (retired_ < until || drowsy_)) {
            core_.clk_i = 0;
            core_.eval();
            if (core_.sleep_o && woken && started_) {
                asleep_ = true;
                break;
            }
            if (!core_.sleep_o) {
                woken = true;
                asleep_ = false;
            }
            step();
            if (woken) core_.wake_i = 0;
            if (!started_ && --boot_patience == 0) fail("the core does not leave the boot ROM");
            if (retired_ != seen) {
                seen = retired_;
                patience = cycles_ + PATIENCE;
            } else if (cycles_ > patience) {
                fail("the core hangs");
            }
        }
        if (!trap_.empty()) {
            answer("trap", trap_.c_str());
        } else {
            answer(asleep_ ? "waiting" : "budget", "");
        }
    }

  private:
    // One cycle; the inputs are those of this cycle, the outputs have been evaluated.
    void step() {
        const bool fetch = core_.instr_req_o;
        const uint32_t fetch_address = core_.instr_addr_o;
        bool granted = core_.data_req_o && core_.data_gnt_i;
        uint32_t answer = 0, wait = 0;
        if (granted) granted = access(answer, wait);
        // In the cycle of a fault, what retires is older than it, or issues behind it.
        if (core_.retire_o && (trap_.empty() || !core_.retires_at_issue_o)) retire(core_.retire_pc_o);
        cycles_ += started_;

        core_.clk_i = 1;
        core_.eval();
        // Now mepc is written, too.
        if (fetch && fetch_address == TRAP) trapped();

        core_.instr_rvalid_i = fetch;
        if (fetch) core_.instr_rdata_i = fetch_word(fetch_address);
        if (granted) {
            due_ = wait + 1;
            data_ = answer;
        }
        core_.data_rvalid_i = due_ == 1;
        if (due_ == 1) core_.data_rdata_i = data_;
        if (due_ > 0) due_--;
        core_.data_gnt_i = due_ == 0;
    }

    void clock() {
        core_.clk_i = 0;
        core_.eval();
        core_.clk_i = 1;
        core_.eval();
    }

    void retire(uint32_t pc) {
        if (!started_) started_ = pc == options_.entry;
        retired_ += started_;
        drowsy_ = started_ && half_word(pc) == (WFI & 0xffff) && half_word(pc + 2) == WFI >> 16;
    }

    uint32_t half_word(uint32_t pc) const { return fetch_word(pc) >> 8 * (pc & 2) & 0xffff; }

    // A load or store is granted; false if there is nothing that could take it.
    bool access(uint32_t &answer, uint32_t &wait) {
        const uint32_t first = core_.data_exact_o;
        const unsigned size = core_.data_size_o;
        const unsigned lanes = core_.data_be_o;
        const bool store = core_.data_we_o;
        if (first % size) return fault("misaligned", first, size);
        if (options_.registers.holds(first)) {
            Region &page = options_.registers;
            const bool allowed = lanes == 15 && (!store || first - page.base >= options_.device);
            if (!allowed) return fault(store ? "store" : "load", first, size);
            if (store) page.store(first, core_.data_wdata_o, lanes);
            else answer = page.load(first);
            wait = page.wait;
            return true;
        }
        for (Region *region : {&options_.packet, &options_.dmem, &options_.imem}) {
            if (!region->holds(first)) continue;
            if (store && region == &options_.imem) break;
            if (store) region->store(first, core_.data_wdata_o, lanes);
            else answer = region->load(first);
            wait = region->wait;
            return true;
        }
        return fault(store ? "store" : "load", first, size);
    }

    bool fault(const char *reason, uint32_t address, unsigned size) {
        // A core that counts what it issues has counted this one, which is not to have happened.
        if (core_.retires_at_issue_o && retired_ > 0) retired_--;
        char text[64];
        std::snprintf(text, sizeof text, "%s 0x%x %u", reason, address, size);
        trap(core_.data_pc_o, text);
        return false;
    }

    // The core fetches from the trap vector.
    void trapped() {
        const uint32_t pc = core_.trap_pc_o;
        trap(pc, options_.imem.holds(pc) ? "exception" : "fetch");
    }

    void trap(uint32_t pc, const std::string &reason) {
        if (!trap_.empty()) return;
        char text[32];
        std::snprintf(text, sizeof text, " 0x%08x ", pc);
        trap_ = text + reason;
    }

    void answer(const char *how, const char *more) {
        std::printf("%s %llu %llu%s\n", how, (unsigned long long)retired_, (unsigned long long)cycles_, more);
        std::fflush(stdout);
    }

    uint32_t fetch_word(uint32_t address) const {
        if (options_.imem.holds(address)) return options_.imem.load(address);
        if (!started_ && address - BOOT < sizeof rom_) return rom_[(address - BOOT) / 4];
        return 0;  // twice an illegal compressed instruction
    }

    // Enables the wake-up interrupt, keeps interrupts from being taken, and enters the image with the stack pointer set and
    // every other register 0.
    void make_rom() {
        uint32_t *word = rom_;
        auto set = [&](uint32_t rd, uint32_t value) {
            *word++ = ((value + 0x800) & 0xfffff000) | rd << 7 | 0x37;
            *word++ = value << 20 | rd << 15 | rd << 7 | 0x13;
        };
        const uint32_t t0 = 5;
        set(t0, 1 << 11);
        *word++ = 0x30401073 | t0 << 15;  // csrw mie, t0
        set(t0, 3 << 11);                 // MPP machine, MPIE and MIE 0
        *word++ = 0x30001073 | t0 << 15;  // csrw mstatus, t0
        set(t0, options_.entry);
        *word++ = 0x34101073 | t0 << 15;  // csrw mepc, t0
        set(2, options_.stack);
        *word++ = t0 << 7 | 0x13;  // li t0, 0
        *word++ = 0x30200073;      // mret
    }

    Options options_;
    Vreferee core_;
    uint32_t rom_[16] = {};
    uint64_t retired_ = 0, cycles_ = 0;
    // Drowsy: the youngest instruction is a `wfi`, and the core not asleep yet.
    bool started_ = false, asleep_ = false, drowsy_ = false;
    std::string trap_;
    // Cycles until the outstanding data access is answered, and with what.
    uint32_t due_ = 0, data_ = 0;
};

uint32_t number(const char *text, const char **end = nullptr) {
    char *stop = nullptr;
    unsigned long long value = std::strtoull(text, &stop, 0);
    if (stop == text || value > UINT32_MAX || (!end && *stop)) fail(std::string("not a number: ") + text);
    if (end) *end = stop;
    return uint32_t(value);
}

Region region(const char *text) {
    Region region;
    const char *rest = text;
    region.base = number(rest, &rest);
    if (*rest++ != ',') fail(std::string("not BASE,SIZE,WAIT: ") + text);
    region.size = number(rest, &rest);
    if (*rest++ != ',') fail(std::string("not BASE,SIZE,WAIT: ") + text);
    region.wait = number(rest);
    if (region.base % 4 || region.size % 4 || region.base + uint64_t(region.size) > UINT32_MAX)
        fail(std::string("no such memory: ") + text);
    return region;
}

Options parse(int count, char **arguments) {
    Options options;
    if (count < 2) fail("no file named");
    options.file = arguments[1];
    for (int index = 2; index < count; index++) {
        const std::string argument = arguments[index];
        const size_t equals = argument.find('=');
        if (equals == std::string::npos) fail("not NAME=VALUE: " + argument);
        const std::string name = argument.substr(0, equals);
        const char *value = arguments[index] + equals + 1;
        if (name == "entry") options.entry = number(value);
        else if (name == "stack") options.stack = number(value);
        else if (name == "device") options.device = number(value);
        else if (name == "imem") options.imem = region(value);
        else if (name == "dmem") options.dmem = region(value);
        else if (name == "packet") options.packet = region(value);
        else if (name == "registers") options.registers = region(value);
        else fail("no such option: " + argument);
    }
    return options;
}

void map(const Options &options, Region &region, int file, uint64_t length) {
    if (region.size == 0) return;
    const uint64_t offset = uint64_t(region.base) - options.imem.base;
    if (region.base < options.imem.base || offset % 4096) fail("a memory does not start on a page of the file");
    if (offset + region.size > length) fail("the file is shorter than the memories");
    void *place = mmap(nullptr, region.size, PROT_READ | PROT_WRITE, MAP_SHARED, file, off_t(offset));
    if (place == MAP_FAILED) fail("cannot map the file");
    region.bytes = static_cast<uint8_t *>(place);
}

}  // namespace

int main(int count, char **arguments) {
    Options options = parse(count, arguments);
    const int file = open(options.file, O_RDWR | O_CLOEXEC);
    struct stat status;
    if (file < 0 || fstat(file, &status) != 0) fail(std::string("cannot open ") + options.file);
    for (Region *region : {&options.imem, &options.dmem, &options.packet, &options.registers})
        map(options, *region, file, uint64_t(status.st_size));

    Bench bench(options);
    char line[64];
    while (std::fgets(line, sizeof line, stdin)) {
        unsigned long long budget = 0;
        if (std::sscanf(line, "run %llu", &budget) != 1) fail(std::string("no such command: ") + line);
        bench.run(budget);
    }
}
