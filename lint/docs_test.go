package lint

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// TestManifestsOfTheDocsAreClean: what a reader copies from README or docs is whole, and nothing is wrong with it.
func TestManifestsOfTheDocsAreClean(t *testing.T) {
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$")
	var all []File
	for _, page := range append(pages, "../README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for i, m := range block.FindAllSubmatch(text, -1) {
			all = append(all, File{fmt.Sprintf("%s, block %d", page, i+1), m[1]})
		}
	}
	r := linter(t).Check(all, "metallb-system") // together: one block names the pool of another
	for _, f := range r.Findings {
		t.Error(f)
	}
	if len(all) < 3 || r.Checked < len(all) {
		t.Errorf("checked %d documents of %d blocks", r.Checked, len(all))
	}
}
