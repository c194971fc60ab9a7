# Verbs only; what they do is in scripts/.
.PHONY: check test matrix demo bench clean

check:
	@scripts/check

test:
	@scripts/test

matrix:
	@scripts/matrix

demo:
	@scripts/demo

bench:
	@scripts/bench

clean:
	rm -rf .venv .cache .*_cache .hypothesis build dist
