# Verbs only; what they do is in scripts/.
.PHONY: check test matrix demo bench reference docs package image clean

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

reference:
	@scripts/reference

docs:
	@scripts/docs

package:
	@scripts/package

image:
	@scripts/image

clean:
	rm -rf .venv .cache .*_cache .hypothesis build dist
