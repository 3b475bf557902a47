#pragma once

/*
 * Makes room for the program beside which this process runs: last in line for the processor and
 * the disk, first to be killed where memory runs out. What isn't allowed is left as it is.
 */
void low_priority(void);
