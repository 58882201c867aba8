// Prints the lines that github.com/nxadm/tail shows of a log: `follow LOG`.
package main

import (
	"fmt"
	"log"
	"os"

	"github.com/nxadm/tail"
)

func main() {
	config := tail.Config{Follow: true, ReOpen: true, Poll: len(os.Args) > 2, Logger: tail.DiscardingLogger}
	t, err := tail.TailFile(os.Args[1], config)
	if err != nil {
		log.Fatal(err)
	}
	for line := range t.Lines {
		fmt.Println(line.Text)
	}
}
