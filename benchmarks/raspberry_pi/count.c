/* Counts the instructions that an emulated program executes: a TCG plugin for qemu-user.
 *
 * The program calls getppid() to ask for the count so far, which goes to standard error; it has no other use for that
 * call. One thread only: the counter takes no locks. Debian ships no qemu-plugin.h, so what is used of it stands here. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef uint64_t id_t_;
struct qemu_plugin_tb;
typedef void (*translated)(id_t_, struct qemu_plugin_tb *);
typedef void (*executed)(unsigned, void *);
typedef void (*called)(id_t_, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                       uint64_t);

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
void qemu_plugin_register_vcpu_tb_trans_cb(id_t_, translated);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, executed, int, void *);
void qemu_plugin_register_vcpu_syscall_cb(id_t_, called);

enum { NO_REGISTERS = 0, GETPPID = 173 /* on arm64 */ };

int qemu_plugin_version = 1; /* of the interface, before qemu 9 */

static uint64_t count;

static void on_block(unsigned cpu, void *instructions)
{
    (void)cpu;
    count += (uintptr_t)instructions;
}

static void on_translation(id_t_ id, struct qemu_plugin_tb *block)
{
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_cb(block, on_block, NO_REGISTERS, (void *)qemu_plugin_tb_n_insns(block));
}

static void on_call(id_t_ id, unsigned cpu, int64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e,
                    uint64_t f, uint64_t g, uint64_t h)
{
    (void)id, (void)cpu, (void)a, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
    if (number == GETPPID)
        fprintf(stderr, "instructions %llu\n", (unsigned long long)count);
}

int qemu_plugin_install(id_t_ id, const void *info, int argc, char **argv)
{
    (void)info, (void)argc, (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_vcpu_syscall_cb(id, on_call);
    return 0;
}
