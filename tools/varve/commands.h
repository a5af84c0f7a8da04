/* commands.h - the subcommands, one file each. argv[0] is the subcommand's name; each returns what the
 * program ends with (enum tool_exit). */
#ifndef VARVE_TOOL_COMMANDS_H
#define VARVE_TOOL_COMMANDS_H

int command_verify(int argc, char **argv);
int command_stats(int argc, char **argv);
int command_dump(int argc, char **argv);
int command_scan(int argc, char **argv);
int command_merkle(int argc, char **argv);
int command_checkpoint(int argc, char **argv);
int command_salvage(int argc, char **argv);

#endif
