/* SPDX-License-Identifier: MIT */
/*
 * What the files of the configuration share: value.c parses one value, config.c whole files.
 * Private to config/.
 */
#ifndef ADIT_CONFIG_CONFIG_INT_H
#define ADIT_CONFIG_CONFIG_INT_H

#include "config/config.h"

#define CONFIG_WHY_MAX 256

/* Pure parsers of values. 0 or -EINVAL. */
int value_parse_bool(const char *text, bool *value);
int value_parse_number(const char *text, uint64_t *value);
/* "120s", "2m", "500ms", "90us", "1h30m", "1d": microseconds. A unit is required, but for 0. */
int value_parse_duration(const char *text, uint64_t *us);
/* "65536", "256M", "64KiB", "1.5G": bytes; K, M, G, T count by 1024. */
int value_parse_size(const char *text, uint64_t *bytes);
/* "100mbit", "2.5gbit", "800kbit" (bits by 1000, as tc(8) has them), "12MB" (bytes by 1000);
 * optionally "/s"; "none": 0. Bytes a second. */
int value_parse_rate(const char *text, uint64_t *bytes);
/* "RULE -> EXIT"; exit points into text. */
int value_parse_route(const char *text, struct rule *rule, const char **exit);

/* Parses text as key's type into the field at `field`. Lists are appended to. 0, or ADIT_EFORMAT or
 * -ENOMEM and why (CONFIG_WHY_MAX) says what is wrong, as in "'x' is not a number". */
int value_set(const struct config_key *key, const char *text, void *field, char *why);
/* Without the blanks at both ends; in place. */
char *value_trim(char *text);
/* A '#' or ';' at the beginning or after a blank starts a comment: cuts it off. */
void value_cut_comment(char *text);
/* How many letters must be added, dropped or changed to make one of the other; only their first 30
 * count. */
size_t value_distance(const char *a, const char *b);
/* Frees what the field holds and makes it empty: "", no list, 0. */
void value_clear(const struct config_key *key, void *field);

#endif
