#!/bin/sh
# The oracle: a solution that is known to be right. This folder is at /solution, for the oracle alone.
cat > greet.sh <<'END'
#!/bin/sh
# Greets.
echo "Hello, ${1:-stranger}!"
END
