#!/bin/sh
# Builds from clean in any order, but does not know which headers an object needs.
set -e
patch -s -p1 <<'PATCH'
--- a/Makefile
+++ b/Makefile
@@ -2,38 +2,48 @@
 CFLAGS ?= -O1 -Wall
 CPPFLAGS = -Iinclude -Igen
 
-OBJS = build/units.o build/format.o build/units_table.o
+LIB_OBJS = build/units.o build/format.o build/units_table.o
+OBJS = $(LIB_OBJS) build/main.o
+TABLES = gen/units_table.h gen/units_table.c
 
-all: dirs gen/version.h build/conv
+all: build/conv
 
-dirs:
-	mkdir -p build gen
+build gen:
+	mkdir -p $@
 
-build/gentab: tools/gentab.c
+build/gentab: tools/gentab.c | build
 	$(CC) $(CFLAGS) -o $@ tools/gentab.c
 
-gen/units_table.h gen/units_table.c: build/gentab
-	./build/gentab data/units.txt gen/units_table.h gen/units_table.c
+# One run writes both tables; the stamp says that it went well.
+build/tables.stamp: data/units.txt build/gentab | gen
+	./build/gentab data/units.txt $(TABLES)
+	touch $@ $(TABLES)
 
-gen/version.h: dirs
-	echo "#define CONV_VERSION \"$$(head -n 1 VERSION)\"" > gen/version.h
+$(TABLES): build/tables.stamp ;
 
-build/%.o: src/%.c
-	$(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<
+gen/version.h: VERSION | gen
+	echo "#define CONV_VERSION \"$$(head -n 1 VERSION)\"" > $@
 
-build/units_table.o: gen/units_table.c
-	$(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<
+COMPILE = $(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<
 
-build/libunits.a: $(OBJS)
-	ar rcs $@ $(OBJS)
+build/%.o: src/%.c | build gen/units_table.h gen/version.h
+	$(COMPILE)
+
+build/units_table.o: gen/units_table.c | build gen/units_table.h
+	$(COMPILE)
+
+build/libunits.a: $(LIB_OBJS)
+	rm -f $@
+	ar rcs $@ $(LIB_OBJS)
 
 build/conv: build/main.o build/libunits.a
-	$(CC) $(CFLAGS) -lm -o $@ build/libunits.a build/main.o
+	$(CC) $(CFLAGS) -o $@ build/main.o build/libunits.a -lm
 
 test: all
 	sh test/run.sh
 
 clean:
-	rm -rf build
+	rm -rf build gen
 
-.PHONY: all dirs test clean
+.DELETE_ON_ERROR:
+.PHONY: all test clean
--- a/src/units.c
+++ b/src/units.c
@@ -2,7 +2,7 @@
 
 #include <string.h>
 
-const struct unit *unit_lookup(const char *name)
+const struct unit *units_find(const char *name)
 {
     for (int i = 0; i < UNITS_COUNT; i++)
         if (strcmp(units_table[i].name, name) == 0)
PATCH
