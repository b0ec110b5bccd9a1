/* Counts lines, words and bytes of every file in the folders given as arguments. */
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <string.h>

struct counts { unsigned long lines, words, bytes; };

static int count(const char *path, struct counts *into) {
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        return 1;
    }
    int in_word = 0, letter;
    while ((letter = getc(file)) != EOF) {
        into->bytes++;
        into->lines += letter == '\n';
        if (isspace(letter)) {
            in_word = 0;
        } else if (!in_word) {
            in_word = 1;
            into->words++;
        }
    }
    return fclose(file) != 0;
}

static int count_folder(const char *folder, struct counts *total) {
    DIR *entries = opendir(folder);
    if (!entries) {
        perror(folder);
        return 1;
    }
    int failed = 0;
    struct dirent *entry;
    while ((entry = readdir(entries))) {
        if (entry->d_name[0] == '.') continue; /* also the ..data of mounted ConfigMaps */
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        struct counts file = {0};
        failed |= count(path, &file);
        printf("%6lu lines %6lu words %8lu bytes  %s\n", file.lines, file.words, file.bytes, path);
        total->lines += file.lines;
        total->words += file.words;
        total->bytes += file.bytes;
    }
    closedir(entries);
    return failed;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: wordcount FOLDER...\n");
        return 2;
    }
    struct counts total = {0};
    int failed = 0;
    for (int i = 1; i < argc; i++) failed |= count_folder(argv[i], &total);
    printf("%6lu lines %6lu words %8lu bytes  in all\n", total.lines, total.words, total.bytes);
    return failed;
}
