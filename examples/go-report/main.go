// Sums up a CSV file by its first column and writes the report to a volume that it shares with nobody else.
package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"strconv"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "go-report:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 3 {
		return errors.New("usage: go-report IN.csv OUT.txt")
	}
	in, err := os.Open(os.Args[1])
	if err != nil {
		return err
	}
	defer in.Close()
	sums, err := sum(in)
	if err != nil {
		return fmt.Errorf("%s: %w", os.Args[1], err)
	}
	report := format(sums)
	fmt.Print(report)
	return os.WriteFile(os.Args[2], []byte(report), 0o644)
}

// sum adds the second column of each row to the total of its first.
func sum(in io.Reader) (map[string]float64, error) {
	rows := csv.NewReader(in)
	rows.FieldsPerRecord = 2
	sums := map[string]float64{}
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return sums, nil
		}
		if err != nil {
			return nil, err
		}
		amount, err := strconv.ParseFloat(row[1], 64)
		if err != nil {
			return nil, err
		}
		sums[row[0]] += amount
	}
}

func format(sums map[string]float64) string {
	names := make([]string, 0, len(sums))
	for name := range sums {
		names = append(names, name)
	}
	sort.Strings(names)
	report := ""
	for _, name := range names {
		report += fmt.Sprintf("%-10s %10.2f\n", name, sums[name])
	}
	return report
}
