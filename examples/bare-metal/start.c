/*
 * start.c: what stands before main() on a Cortex-M with no operating system. Vector table, floating
 * point on, .data and .bss; main's value leaves through semihosting, which a debugger or QEMU
 * answers, and so does what printf prints. Yours to copy; needs the linker script beside it.
 */
#include <stddef.h>
#include <stdint.h>

extern uint32_t data_from[], data_start[], data_end[], bss_start[], bss_end[], stack_top[];
int main(void);
void reset(void);
void _exit(int code);

/* One request to the debugger: its number, and a value or the address of a block of words. */
static intptr_t semihosting(uint32_t request, const void *argument)
{
  register intptr_t r0 __asm__("r0") = (intptr_t)request;
  register const void *r1 __asm__("r1") = argument;
  __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
  return r0;
}

void _exit(int code)
{
  const uint32_t block[2] = { 0x20026, (uint32_t)code }; /* the program ended, with this value */
  semihosting(0x20, block); /* SYS_EXIT_EXTENDED */
  for (;;) {
  }
}

/* Any fault or stray interrupt: a value that no self test returns. */
static void fault(void)
{
  _exit(99);
}

void reset(void)
{
  volatile uint32_t *const cpacr = (volatile uint32_t *)0xE000ED88;
  *cpacr |= UINT32_C(0xf) << 20; /* coprocessors 10 and 11: floating point, and MVE where it is */
  __asm__ volatile("dsb\n  isb" : : : "memory");
  for (size_t i = 0; data_start + i < data_end; ++i) data_start[i] = data_from[i];
  for (volatile uint32_t *p = bss_start; p < bss_end; ++p) *p = 0;
  _exit(main());
}

__attribute__((section(".vectors"), used)) static void (*const vectors[16])(void) = {
  (void (*)(void))stack_top, reset, fault, fault, fault, fault, fault, fault,
  fault, fault, fault, fault, fault, fault, fault, fault,
};
