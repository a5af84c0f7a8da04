/* bitrot - damages each of twelve small databases in every way that a disk, a cable or a careless hand knows,
 * one file at a time, and looks at what comes of it: the true values or an error that names file and place.
 * See zoo.h (the databases), attack.h (the damage), judge.h (what may come of it).
 *
 *   bitrot                 the kept cases, then what is vital and a twentieth of the rest
 *   bitrot --seed N        another zoo, another twentieth (default 1)
 *   bitrot --budget B      what is vital, and then further twentieths: B images, or a time; at most all
 *   bitrot --all           every bit, every length, every swap
 *   bitrot --db NAME       one database alone
 *   bitrot --image TEXT    one image: DB:FILE:KIND:A:B, as a failure prints it
 *
 * Vital are headers, footers, lengths, filters' and blocks' ends, indexes, properties, manifests and
 * CURRENT, whole files that are old, foreign or gone. One image in eight that opens is compacted, closed
 * and opened again as well. With a count, the same arguments give the same standard output. */
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "attack.h"
#include "base/check.h"
#include "base/rng.h"
#include "campaign.h"
#include "judge.h"
#include "zoo.h"

#define SHARES 20u
#define DEEP_EVERY 8u
#define HANG_S 60u
#define FAILURES_SHOWN_MAX 20u
#define REGRESS_FILE "tests/regress/bitrot.txt"
#define LINE_BYTES 256
#define KINDS (NAME_RESERVE + 1)

struct settings {
    uint64_t seed;
    struct budget budget; /* both 0: one share */
    int all;
    int db;            /* -1: all */
    const char *image; /* NULL: a campaign */
};

struct figures {
    uint64_t images;
    uint64_t verdicts[VERDICT_COUNT];
    uint64_t reasons[REASON_COUNT];
    uint64_t deep;
    uint64_t by_kind[KINDS][VERDICT_COUNT]; /* of files */
    uint64_t kind_reasons[KINDS][REASON_COUNT];
};

struct campaign {
    struct settings settings;
    struct figures figures;
    struct zoo_db *zoos[ZOO_COUNT];
    struct judge *judges[ZOO_COUNT];
    uint64_t kept;
    uint64_t failed;
    double began_s;
};

/* ---- where we are, should the program die ---- */

static char place[ATTACK_TEXT_BYTES];
static uint64_t place_seed;

static void tell_place(void)
{
    char text[ATTACK_TEXT_BYTES + 64];
    int len = snprintf(text, sizeof(text), "died in: bitrot --seed %" PRIu64 " --image %s\n",
                       place_seed, place);

    (void)!write(STDOUT_FILENO, text, (size_t)len);
}

static void on_signal(int number)
{
    tell_place();
    signal(number, SIG_DFL);
    raise(number);
}

/* Of the sanitizers, if they are there. */
__attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)(void));

static void watch_for_death(void)
{
    signal(SIGABRT, on_signal);
    signal(SIGALRM, on_signal); /* it hangs */
    if (__sanitizer_set_death_callback != NULL)
        __sanitizer_set_death_callback(tell_place);
    else
        signal(SIGSEGV, on_signal);
}

/* ---- one image ---- */

static void note(struct campaign *campaign, const struct zoo_db *zoo, const struct attack *attack,
                 const struct judgement *judgement)
{
    struct figures *figures = &campaign->figures;
    enum name_kind kind = zoo->files[attack->file].kind;

    figures->images++;
    figures->verdicts[judgement->verdict]++;
    figures->by_kind[kind][judgement->verdict]++;
    if (judgement->verdict == VERDICT_UNHARMED) {
        figures->reasons[judgement->reason]++;
        figures->kind_reasons[kind][judgement->reason]++;
    }
    if (judgement->verdict != VERDICT_WRONG)
        return;
    campaign->failed++;
    printf("FAILED: %s\n  again: bitrot --seed %" PRIu64 " --image %s\n", judgement->why,
           campaign->settings.seed, place);
}

/* Returns 0 if the attack changes nothing. */
static int try_image(struct campaign *campaign, unsigned db, const struct attack *attack, int deep)
{
    const struct zoo_db *zoo = campaign->zoos[db];
    struct judgement judgement;
    struct attacked attacked;

    if (!attack_make(zoo, attack, &attacked))
        return 0;
    attack_format(zoo, attack, place);
    alarm(HANG_S);
    judge_image(campaign->judges[db], attack, &attacked, deep, &judgement);
    alarm(0);
    campaign->figures.deep += (uint64_t)deep;
    note(campaign, zoo, attack, &judgement);
    if (campaign->settings.image != NULL)
        printf("%s: %s%s%s, k = %" PRIu64 "%s%s\n", place, verdict_name(judgement.verdict),
               judgement.reason == REASON_NONE ? "" : ": ",
               judgement.reason == REASON_NONE ? "" : reason_text(judgement.reason), judgement.k,
               judgement.why[0] == '\0' ? "" : ": ", judgement.why);
    attacked_deinit(&attacked);
    return 1;
}

/* ---- the zoo ---- */

static struct zoo_db *meet(struct campaign *campaign, unsigned db)
{
    struct judgement judgement;

    if (campaign->zoos[db] != NULL)
        return campaign->zoos[db];
    campaign->zoos[db] = zoo_create(db, campaign->settings.seed);
    campaign->judges[db] = judge_create(campaign->settings.seed);
    snprintf(place, sizeof(place), "%s", campaign->zoos[db]->name);
    if (judge_meet(campaign->judges[db], campaign->zoos[db], &judgement) != 0) {
        printf("FAILED: %s, undamaged: %s\n", place, judgement.why);
        campaign->failed++;
    }
    return campaign->zoos[db];
}

static void leave(struct campaign *campaign)
{
    for (unsigned i = 0; i < ZOO_COUNT; i++) {
        judge_destroy(campaign->judges[i]);
        zoo_destroy(campaign->zoos[i]);
        campaign->judges[i] = NULL;
        campaign->zoos[i] = NULL;
    }
}

/* ---- the campaign ---- */

static int is_over(const struct campaign *campaign)
{
    const struct budget *budget = &campaign->settings.budget;

    if (campaign->failed >= FAILURES_SHOWN_MAX)
        return 1;
    if (budget->count == 0 && budget->seconds == 0)
        return 0;
    return !budget_left(budget, campaign->figures.images, campaign->began_s);
}

/* Which twentieth an image that is not vital belongs to, and whether it goes deep. */
static uint64_t draw(const struct campaign *campaign, unsigned db, const struct attack *attack,
                     uint64_t n)
{
    struct rng rng = {.state = campaign->settings.seed * ZOO_COUNT + db};

    rng.state ^= rng_next(&rng) + attack->file * ATTACK_KIND_COUNT + attack->kind;
    rng.state ^= rng_next(&rng) + n;
    return rng_next(&rng);
}

/* share 0: what is vital, and the first twentieth. */
static void attack_file(struct campaign *campaign, unsigned db, size_t file, uint64_t share)
{
    const struct zoo_db *zoo = campaign->zoos[db];

    for (unsigned kind = 0; kind < ATTACK_KIND_COUNT; kind++) {
        uint64_t count = attack_count(&zoo->files[file], (enum attack_kind)kind);
        for (uint64_t n = 0; n < count && !is_over(campaign); n++) {
            struct attack attack = attack_at(zoo, file, (enum attack_kind)kind, n);
            uint64_t drawn = draw(campaign, db, &attack, n);
            uint64_t its = attack_is_vital(zoo, &attack) ? 0 : drawn % SHARES;
            if (its == share)
                try_image(campaign, db, &attack, drawn / SHARES % DEEP_EVERY == 0);
        }
    }
}

static void attack_all(struct campaign *campaign)
{
    const struct settings *settings = &campaign->settings;
    int further = settings->all || settings->budget.count > 0 || settings->budget.seconds > 0;

    for (uint64_t share = 0; share < (further ? SHARES : 1) && !is_over(campaign); share++)
        for (unsigned db = 0; db < ZOO_COUNT && !is_over(campaign); db++) {
            if (settings->db >= 0 && (int)db != settings->db)
                continue;
            const struct zoo_db *zoo = meet(campaign, db);
            for (size_t file = 0; file < zoo->file_count; file++)
                attack_file(campaign, db, file, share);
            fprintf(stderr, "share %" PRIu64 ", %s: %" PRIu64 " images, %.1f s\n", share, zoo->name,
                    campaign->figures.images, campaign_now_s() - campaign->began_s);
        }
}

static void tell(const struct figures *figures)
{
    static const char *const kinds[KINDS] = {"others",       "LOCK", "CURRENT",  "CURRENT.tmp",
                                             "the manifest", "logs", "segments", "RESERVE"};

    for (unsigned kind = 0; kind < KINDS; kind++) {
        uint64_t images = 0;
        for (unsigned i = 0; i < VERDICT_COUNT; i++)
            images += figures->by_kind[kind][i];
        if (images == 0)
            continue;
        printf("%s: %" PRIu64 " images", kinds[kind], images);
        for (unsigned i = 0; i < VERDICT_COUNT; i++)
            if (figures->by_kind[kind][i] > 0)
                printf(", %" PRIu64 " %s", figures->by_kind[kind][i],
                       verdict_name((enum verdict)i));
        printf("\n");
        for (unsigned i = 0; i < REASON_COUNT; i++)
            if (figures->kind_reasons[kind][i] > 0)
                printf("  unharmed %" PRIu64 ": %s\n", figures->kind_reasons[kind][i],
                       reason_text((enum reason)i));
    }
}

/* ---- kept cases ---- */

static int one_image(struct campaign *campaign, const char *text)
{
    char name[32];
    struct attack attack;

    if (sscanf(text, "%31[^:]", name) != 1 || zoo_find(name) < 0)
        return -1;
    unsigned db = (unsigned)zoo_find(name);
    if (attack_parse(meet(campaign, db), text, &attack) != 0)
        return -1;
    if (!try_image(campaign, db, &attack, 1))
        printf("%s: changes nothing\n", text);
    return 0;
}

/* "SEED IMAGE # what it was" a line. */
static int kept_case(struct campaign *campaign, char *line)
{
    char image[ATTACK_TEXT_BYTES];
    uint64_t seed = 0;

    line[strcspn(line, "#\n")] = '\0';
    if (line[strspn(line, " ")] == '\0')
        return 0;
    if (sscanf(line, "%" SCNu64 " %127s", &seed, image) != 2)
        return -1;
    if (seed != campaign->settings.seed)
        leave(campaign);
    campaign->settings.seed = place_seed = seed;
    campaign->kept++;
    return one_image(campaign, image);
}

static int kept_cases(struct campaign *campaign)
{
    const char *root = getenv("VARVE_ROOT");
    uint64_t seed = campaign->settings.seed;
    char path[512];
    char line[LINE_BYTES];
    int rc = 0;

    snprintf(path, sizeof(path), "%s/%s", root == NULL ? "." : root, REGRESS_FILE);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return fprintf(stderr, "bitrot: no %s (VARVE_ROOT is not the clone?)\n", path), -1;
    for (int number = 1; rc == 0 && fgets(line, sizeof(line), file) != NULL; number++) {
        rc = kept_case(campaign, line);
        if (rc != 0)
            fprintf(stderr, "bitrot: %s:%d is no image of the zoo\n", path, number);
    }
    fclose(file);
    if (campaign->settings.seed != seed)
        leave(campaign);
    campaign->settings.seed = place_seed = seed;
    return rc;
}

/* ---- arguments ---- */

static int usage(void)
{
    fprintf(stderr, "usage: bitrot [--seed N] [--budget IMAGES|Ns|Nm|Nh] [--all] [--db NAME]"
                    " [--image DB:FILE:KIND:A:B]\n");
    return 2;
}

static int parse_one(struct settings *settings, int option, const char *value)
{
    switch (option) {
    case 's': return seed_parse(value, &settings->seed);
    case 'b': return budget_parse(value, &settings->budget);
    case 'a': settings->all = 1; return 0;
    case 'd': settings->db = zoo_find(value); return settings->db < 0 ? -1 : 0;
    case 'i': settings->image = value; return 0;
    default: return -1;
    }
}

static int parse(struct settings *settings, int argc, char **argv)
{
    static const struct option options[] = {
        {"seed", 1, NULL, 's'}, {"budget", 1, NULL, 'b'}, {"all", 0, NULL, 'a'},
        {"db", 1, NULL, 'd'},   {"image", 1, NULL, 'i'},  {NULL, 0, NULL, 0},
    };
    int option;
    int rc = 0;

    *settings = (struct settings){.seed = 1, .db = -1};
    while (rc == 0 && (option = getopt_long(argc, argv, "", options, NULL)) != -1)
        rc = parse_one(settings, option, optarg);
    return rc == 0 && optind >= argc ? 0 : -1;
}

int main(int argc, char **argv)
{
    struct campaign campaign = {.began_s = campaign_now_s()};
    struct figures *figures = &campaign.figures;
    int rc;

    if (parse(&campaign.settings, argc, argv) != 0)
        return usage();
    setvbuf(stdout, NULL, _IOLBF, 0);
    place_seed = campaign.settings.seed;
    watch_for_death();
    if (campaign.settings.image != NULL)
        rc = one_image(&campaign, campaign.settings.image);
    else
        rc = kept_cases(&campaign);
    if (rc == 0 && campaign.settings.image == NULL)
        attack_all(&campaign);
    leave(&campaign);
    if (rc != 0)
        return usage();
    tell(figures);
    return campaign_close("bitrot", campaign.settings.seed,
                          figures->images - figures->verdicts[VERDICT_WRONG], campaign.failed,
                          "%" PRIu64 " images: %" PRIu64 " refused at the open, %" PRIu64
                          " at a read, %" PRIu64 " with a shorter S_k, %" PRIu64
                          " unharmed; %" PRIu64 " of them compacted and opened again, %" PRIu64
                          " kept cases",
                          figures->images, figures->verdicts[VERDICT_REFUSED],
                          figures->verdicts[VERDICT_READ_ERROR], figures->verdicts[VERDICT_SHORTER],
                          figures->verdicts[VERDICT_UNHARMED], figures->deep, campaign.kept);
}
