/* Memory that is there or ends the program. */
#ifndef MEMORY_H
#define MEMORY_H

void *need(void *memory);

#endif
